"""Norms of the gradient, while a run trains."""

from pyro_decomp import arguments
from pyro_decomp.training.callbacks import Callback, Training

COLUMN = "gradient_norm"


class GradientNorms(Callback):
    """Writes the Euclidean norm of each step's gradient, before any clipping, into the history.

    The column ``gradient_norm`` is that of the whole gradient, sqrt(sum of squares over all
    parameters); ``gradient_norm[NAME]`` is that of one parameter. The gradient is that of the
    objective in nats per datum.

    Args:
        by_parameter: Write the norm of every parameter too.
    """

    def __init__(self, *, by_parameter: bool = False) -> None:
        arguments.flag(by_parameter=by_parameter)
        self._by_parameter = by_parameter

    def step(self, training: Training) -> None:
        """Write them, if the step is logged."""
        if not training.is_logged:
            return
        norms = training.gradient_norms(by_parameter=self._by_parameter)
        training.record({f"{COLUMN}[{name}]" if name else COLUMN: n for name, n in norms.items()})
