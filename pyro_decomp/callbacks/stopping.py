"""Stopping a run early, and keeping the best it was: both watch one number."""

import math
from typing import Any, Literal

from pyro_decomp import arguments
from pyro_decomp.callbacks.watching import Watcher
from pyro_decomp.training.callbacks import Training


class Monitor(Watcher):
    """Watches one number and knows its best value.

    Args:
        monitor: A number of an evaluation, such as ``test_elbo``, seen at each; or one of the
            objective, such as ``elbo``, of which the mean over an epoch is seen at its end.
        mode: "max" where more is better, "min" where less is.
        min_delta: What a value must be better by than the best, to be better.
    """

    def __init__(
        self, monitor: str, mode: Literal["max", "min"] = "max", min_delta: float = 0.0
    ) -> None:
        arguments.text(monitor=monitor)
        super().__init__(monitor)
        arguments.one_of(("max", "min"), mode=mode)
        arguments.number("[0, inf)", min_delta=min_delta)
        self.mode, self.min_delta = mode, min_delta
        self.best: float | None = None
        self.best_step = 0

    def state_dict(self) -> dict[str, Any]:
        """The best value and its step."""
        return {"best": self.best, "best_step": self.best_step, "is_seen": self._is_seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.best, self.best_step = state.get("best"), state.get("best_step", 0)
        self._is_seen = state.get("is_seen", False)

    def seen(self, training: Training, value: float) -> None:
        """Compare a value with the best so far."""
        sign = 1.0 if self.mode == "max" else -1.0
        at_least = -math.inf if self.best is None else sign * self.best + self.min_delta
        if sign * value > at_least:
            self.best, self.best_step = value, training.step
            self.improved(training)
        else:
            self.not_improved(training)

    def improved(self, training: Training) -> None:
        """Do what is to be done at the best value so far."""

    def not_improved(self, training: Training) -> None:
        """Do what is to be done at any other."""


class EarlyStopping(Monitor):
    """Ends a run, as one that is finished, where a number has not become better for a while.

    Prechelt 1998, "Early stopping -- but when?", https://doi.org/10.1007/3-540-49430-8_3, section
    2: the criterion UP, of values that do not improve one after another.

    Args:
        monitor: A number of an evaluation, such as ``test_elbo``, seen at each; or one of the
            objective, such as ``elbo``, of which the mean over an epoch is seen at its end.
        patience: How many values one after another may be no better than the best.
        min_delta: What a value must be better by than the best, to be better; in its own unit.
        mode: "max" where more is better, "min" where less is.

    Attributes:
        best: The best value so far; None before the first.
        best_step: After which step it was seen.
        waited: Values since then.
    """

    def __init__(
        self,
        monitor: str = "test_elbo",
        patience: int = 10,
        min_delta: float = 0.0,
        mode: Literal["max", "min"] = "max",
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        arguments.whole(patience=patience)
        self.patience, self.waited = patience, 0

    def started(self, training: Training) -> None:
        """Wait anew in a run that was stopped and is to go on."""
        if self.waited >= self.patience and not training.stopped:
            self.waited = 0

    def improved(self, training: Training) -> None:
        """Wait anew."""
        self.waited = 0

    def not_improved(self, training: Training) -> None:
        """Stop the run where it has waited long enough."""
        self.waited += 1
        if self.waited >= self.patience:
            training.stop(
                f"{self.monitor} was no better in {self.waited} values than {self.best:.6g} of "
                f"step {self.best_step}"
            )

    def state_dict(self) -> dict[str, Any]:
        """The best value, its step and the values since then."""
        return super().state_dict() | {"waited": self.waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self.waited = state.get("waited", 0)


class BestCheckpoint(Monitor):
    """Keeps the run as it was where a number was best, in ``best.pt`` beside its checkpoint.

    ``load(path, checkpoint="best")`` gets it back.

    Args:
        monitor: A number of an evaluation, such as ``test_elbo``, seen at each; or one of the
            objective, such as ``elbo``, of which the mean over an epoch is seen at its end.
        mode: "max" where more is better, "min" where less is.

    Attributes:
        best: The best value so far; None before the first.
        best_step: After which step it was seen.
    """

    def __init__(self, monitor: str = "test_elbo", mode: Literal["max", "min"] = "max") -> None:
        super().__init__(monitor, mode)
        self._kept_step = -1  # of what the file holds

    def started(self, training: Training) -> None:
        """Check that the file is of the best value known."""
        self._kept_step = training.best_step()
        self._forget_what_is_lost()

    def improved(self, training: Training) -> None:
        """Keep the run."""
        training.save_best()
        self._kept_step = training.step

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        super().load_state_dict(state)
        self._forget_what_is_lost()

    def _forget_what_is_lost(self) -> None:
        """Begin anew where the file holds a later step, which is taken again or was none."""
        if self.best_step not in (0, self._kept_step) and self._kept_step >= 0:
            self.best, self.best_step = None, 0
