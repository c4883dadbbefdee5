"""How one training step is computed: values, and gradients left in the parameters."""

from pyro_decomp.steps.choice import choose, resolve
from pyro_decomp.steps.eager import EagerStep
from pyro_decomp.steps.execution import Execution
from pyro_decomp.steps.graph import GraphStep

__all__ = ["EagerStep", "Execution", "GraphStep", "choose", "resolve"]
