"""Figures of arrays, each by one function of them; never a model, a run or a window.

Nothing here opens a window or touches ``matplotlib.pyplot``. Arguments are anything that
``numpy.asarray`` takes, tensors on the CPU included; arrays of a wrong shape raise ``ValueError``.
Latents are counted from one in labels, as in the papers: z_1 is ``codes[:, 0]``.
"""

from pyro_decomp.plots.codes import codes_against_factors
from pyro_decomp.plots.decoded import prior_samples, reconstructions
from pyro_decomp.plots.density import DensityPanel, aggregate_density, density_grid
from pyro_decomp.plots.encoding import encodings
from pyro_decomp.plots.history import terms_over_steps
from pyro_decomp.plots.information import code_magnitudes, mutual_information
from pyro_decomp.plots.mosaic import contact_sheet
from pyro_decomp.plots.runs import Boxes, Points, TradeOff, box_plots, scatter, trade_offs
from pyro_decomp.plots.saving import save, save_animation
from pyro_decomp.plots.traversal import traversal_frames, traversals

__all__ = [
    "Boxes",
    "DensityPanel",
    "Points",
    "TradeOff",
    "aggregate_density",
    "box_plots",
    "code_magnitudes",
    "codes_against_factors",
    "contact_sheet",
    "density_grid",
    "encodings",
    "mutual_information",
    "prior_samples",
    "reconstructions",
    "save",
    "save_animation",
    "scatter",
    "terms_over_steps",
    "trade_offs",
    "traversal_frames",
    "traversals",
]
