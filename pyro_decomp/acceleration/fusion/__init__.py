"""Captured graphs of small tensors as C: few loops, no allocations, one call a step."""

from pyro_decomp.acceleration.fusion.program import Program
from pyro_decomp.acceleration.fusion.refusal import FusionError

__all__ = ["FusionError", "Program"]
