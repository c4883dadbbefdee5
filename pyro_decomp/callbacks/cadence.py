"""How often a callback acts, in epochs or as a fraction of a run."""

import math

from pyro_decomp import arguments
from pyro_decomp.arguments import refuse
from pyro_decomp.training.callbacks import Training


def check(every: object) -> None:
    """Check an argument that says how often: a whole number of epochs, or a fraction of the run."""
    found = arguments.plain(every)
    if not isinstance(found, float):
        arguments.whole(every=every)
    elif not 0 < found <= 1:
        refuse("every", "a whole number of epochs, or a fraction of the run in (0, 1]", every)


def steps_between(every: float | int, training: Training) -> int:
    """The number of steps that such an argument means in a run."""
    found = arguments.plain(every)
    if not isinstance(found, float):
        return int(every) * training.steps_per_epoch
    return math.ceil(found * training.total_steps)
