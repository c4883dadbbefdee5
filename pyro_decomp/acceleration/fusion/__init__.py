"""Captured graphs of small tensors as C: few loops, no allocations, one call a step. Internal."""

from pyro_decomp.acceleration.errors import FusionError
from pyro_decomp.acceleration.fusion.program import Program

__all__ = ["FusionError", "Program"]
