"""Seeing one number of a run wherever it is given."""

from collections.abc import Mapping

from pyro_decomp import arguments
from pyro_decomp.callbacks.held_out import HeldOut
from pyro_decomp.errors import ExperimentError
from pyro_decomp.training.callbacks import Callback, Training, is_own


class Watcher(Callback):
    """Sees a number of an evaluation at each, or one of the objective as its mean over an epoch.

    Args:
        monitor: The number, such as ``test_elbo`` or ``elbo``; None sees nothing.
    """

    def __init__(self, monitor: str | None) -> None:
        arguments.text(**arguments.given(monitor=monitor))
        self.monitor = monitor
        self._is_seen = False

    def check(self, training: Training) -> None:
        """Check that something gives the number.

        Raises:
            ExperimentError: It is one of held-out data, which nothing evaluates.
        """
        if (self.monitor or "").startswith("test_") and not _evaluating(training):
            raise ExperimentError(
                f"{type(self).__name__}: expected a callback that gives {self.monitor}, got none "
                "(add HeldOut() to the callbacks)"
            )

    def evaluated(self, training: Training) -> None:
        """Look at the number, if the evaluation has it."""
        self._look(training, training.evaluation)

    def epoch(self, training: Training) -> None:
        """Look at the mean over the epoch, if the number is one of the objective.

        Raises:
            ExperimentError: Nothing gives the number.
        """
        self._look(training, training.epoch_means)
        if not self._is_seen and all(map(is_own, training.callbacks)):
            self._check_known(training)

    def ended(self, training: Training) -> None:
        """Check that the number was seen.

        Raises:
            ExperimentError: It never was.
        """
        if training.step == training.total_steps and not self._is_seen:
            self._check_known(training)

    def seen(self, training: Training, value: float) -> None:
        """Do what is to be done at a value of the number."""

    def _look(self, training: Training, values: Mapping[str, float]) -> None:
        if self.monitor is not None and self.monitor in values:
            self._is_seen = True
            self.seen(training, values[self.monitor])

    def _check_known(self, training: Training) -> None:
        known = [*training.epoch_means, *training.evaluation]
        if _evaluating(training) and not training.evaluation:
            known += [f"test_{name}" for name in training.epoch_means]
        if self.monitor is not None and self.monitor not in known:
            raise ExperimentError(
                f"{type(self).__name__}: expected monitor to be one of {', '.join(known)}, got "
                f"{self.monitor!r}, which no step and no evaluation gave"
            )


def _evaluating(training: Training) -> list[Callback]:
    """Callbacks that evaluate, or may."""
    return [each for each in training.callbacks if isinstance(each, HeldOut) or not is_own(each)]
