"""Images with known factors that are computed whenever they are asked for, from no file."""

from pyro_decomp.data.rendered.heads import heads
from pyro_decomp.data.rendered.scenes import scenes
from pyro_decomp.data.rendered.sprites import sprites

__all__ = ["heads", "scenes", "sprites"]
