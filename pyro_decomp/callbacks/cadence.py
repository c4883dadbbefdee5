"""How often a callback acts, in epochs or as a fraction of a run."""

import math

from pyro_decomp import arguments
from pyro_decomp.arguments import refuse
from pyro_decomp.training.callbacks import Training


def check(**values: object) -> None:
    """Check arguments that say how often: a whole number of epochs, or a fraction of the run."""
    for name, value in values.items():
        if not isinstance(value, float):
            arguments.whole(**{name: value})
        elif not 0 < value <= 1:
            refuse(name, "a whole number of epochs, or a fraction of the run in (0, 1]", value)


def steps_between(every: float | int, training: Training) -> int:
    """The number of steps that such an argument means in a run."""
    if not isinstance(every, float):
        return every * training.steps_per_epoch
    return math.ceil(every * training.total_steps)
