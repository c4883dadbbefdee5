"""How one training step is computed: values, and gradients left in the parameters."""

from pyro_decomp.acceleration.steps.choice import choose
from pyro_decomp.acceleration.steps.eager import EagerStep
from pyro_decomp.acceleration.steps.execution import Execution, Stretch
from pyro_decomp.acceleration.steps.graph import GraphStep
from pyro_decomp.acceleration.steps.layout import resolve
from pyro_decomp.acceleration.steps.result import Departed, GoEager

__all__ = [
    "Departed",
    "EagerStep",
    "Execution",
    "GoEager",
    "GraphStep",
    "Stretch",
    "choose",
    "resolve",
]
