"""How often a callback acts, in epochs or as a fraction of a run."""

import math

from pyro_decomp import arguments
from pyro_decomp.arguments import refuse
from pyro_decomp.training.callbacks import Training


def check(every: object) -> None:
    """Check an argument that says how often: a whole number of epochs, or a fraction of the run."""
    if not isinstance(every, float):
        arguments.whole(every=every)
    elif not 0 < every <= 1:
        refuse("every", "a whole number of epochs, or a fraction of the run in (0, 1]", every)


def steps_between(every: float | int, training: Training) -> int:
    """The number of steps that such an argument means in a run."""
    if not isinstance(every, float):
        return every * training.steps_per_epoch
    return math.ceil(every * training.total_steps)
