"""Pictures of arrays: each function returns a ``matplotlib.figure.Figure`` and knows no model.

Nothing here opens a window or touches ``matplotlib.pyplot``. Arguments are anything that
``numpy.asarray`` takes, tensors on the CPU included; arrays of a wrong shape raise ``ValueError``.
"""

from pyro_decomp.plots.density import DensityPanel, aggregate_density, density_grid
from pyro_decomp.plots.encoding import encodings
from pyro_decomp.plots.file import save
from pyro_decomp.plots.history import terms_over_steps
from pyro_decomp.plots.reconstruction import reconstructions

__all__ = [
    "DensityPanel",
    "aggregate_density",
    "density_grid",
    "encodings",
    "reconstructions",
    "save",
    "terms_over_steps",
]
