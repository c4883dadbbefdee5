"""The pictures of a run, drawn from its data, codes and factors."""

from pyro_decomp.analysis.pictures.drawing import draw
from pyro_decomp.analysis.pictures.latent_plane import density_on_grid

__all__ = ["density_on_grid", "draw"]
