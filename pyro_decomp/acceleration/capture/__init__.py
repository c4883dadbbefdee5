"""A training step as one graph of tensors, traced once from a run of the programs. Internal.

Pyro's handlers, the building of distributions and autograd run while the graph is traced, and
never again: what is left is arithmetic, which can be replayed, compiled, and run for many members
of an ensemble at once.
"""

from pyro_decomp.acceleration.capture.step_graph import StepGraph, capture
from pyro_decomp.acceleration.errors import CaptureError

__all__ = ["CaptureError", "StepGraph", "capture"]
