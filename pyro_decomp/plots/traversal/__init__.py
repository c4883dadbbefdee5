"""What a decoder makes of codes in which one latent at a time takes other values."""

from pyro_decomp.plots.traversal.figure import traversals
from pyro_decomp.plots.traversal.frames import traversal_frames

__all__ = ["traversal_frames", "traversals"]
