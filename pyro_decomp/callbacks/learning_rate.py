"""Learning rates that change over a run, by the schedulers of torch."""

import copy
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from pyro_decomp import arguments
from pyro_decomp.callbacks.watching import Watcher
from pyro_decomp.errors import ExperimentError
from pyro_decomp.training.callbacks import Training

COLUMN = "learning_rate"


class LearningRate(Watcher):
    """Changes the learning rate by a scheduler of ``torch.optim.lr_scheduler``.

    ``LearningRate(lambda optimizer: CosineAnnealingLR(optimizer, T_max=100))``. The rate of every
    step is the column ``learning_rate`` of the history; of several groups of parameters, those
    after the first are ``learning_rate_2`` and so on.

    Args:
        scheduler: Builds the scheduler from the optimiser.
        per: The scheduler steps after every "epoch" or every "step".
        monitor: For ``ReduceLROnPlateau``, which steps where this number is seen instead: one of an
            evaluation, such as ``test_elbo``, or the mean over an epoch of one of the objective.
    """

    def __init__(
        self,
        scheduler: Callable[[torch.optim.Optimizer], LRScheduler],
        per: Literal["epoch", "step"] = "epoch",
        monitor: str | None = None,
    ) -> None:
        arguments.function("a function that builds a scheduler of torch", scheduler=scheduler)
        arguments.one_of(("epoch", "step"), per=per)
        super().__init__(monitor)
        if monitor is not None and per != "epoch":
            arguments.refuse("per", "no per with monitor, which says when the scheduler steps", per)
        self.scheduler, self._per = scheduler, per
        self._schedule: Any = None
        self._kept: dict[str, Any] = {}

    def check(self, training: Training) -> None:
        """Check that the scheduler can be built, and that it fits ``monitor``.

        Raises:
            ExperimentError: It cannot, or does not.
        """
        settings = _settings(training.optimizer)
        scheduler = self._built(training.optimizer)
        _put_back(training.optimizer, settings)
        if isinstance(scheduler, ReduceLROnPlateau) != (self.monitor is not None):
            raise ExperimentError(
                "LearningRate: expected monitor with ReduceLROnPlateau, such as "
                f"monitor='test_elbo', and with no other, got {type(scheduler).__name__} and "
                f"monitor={self.monitor!r}"
            )
        super().check(training)

    def started(self, training: Training) -> None:
        """Build the scheduler, which goes on from where it was."""
        settings = _settings(training.optimizer)
        self._schedule = self._built(training.optimizer)
        if self._kept:
            self._schedule.load_state_dict(self._kept)
            _put_back(training.optimizer, settings)

    def step(self, training: Training) -> None:
        """Write the rate of the step, and change it if that is to be done after every step."""
        first = next(each for each in training.callbacks if isinstance(each, LearningRate))
        if training.is_logged and self is first:  # no other has changed the rate of this step yet
            rates = [float(group["lr"]) for group in training.optimizer.param_groups]
            names = [f"{COLUMN}_{i + 1}" if i else COLUMN for i in range(len(rates))]
            training.record(dict(zip(names, rates, strict=True)))
        if self._per == "step" and self.monitor is None:
            self._schedule.step()

    def epoch(self, training: Training) -> None:
        """Change the rate, if that is to be done after every epoch."""
        if self.monitor is None and self._per == "epoch":
            self._schedule.step()
        super().epoch(training)

    def seen(self, training: Training, value: float) -> None:
        """Let the scheduler see the number that it watches."""
        self._schedule.step(value)

    def state_dict(self) -> dict[str, Any]:
        """What the scheduler keeps."""
        return self._kept if self._schedule is None else self._schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self._kept, self._is_seen = state, state.get("last_epoch", 0) > 0
        if not state:
            self._schedule = None
        elif self._schedule is not None:
            self._schedule.load_state_dict(state)

    def _built(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        """The scheduler, of another optimiser with the same groups of parameters.

        A scheduler puts a ``step`` of its own on its optimiser, which steps on one vector of all
        parameters would not call.
        """
        stand_in = copy.copy(optimizer)
        try:
            scheduler = self.scheduler(stand_in)
        except (TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
            raise ExperimentError(
                f"LearningRate: the scheduler cannot be built: {error}"
            ) from error
        with arguments.raised_as(ExperimentError):
            arguments.instance(
                LRScheduler, "a function that gives a scheduler of torch", scheduler=scheduler
            )
        vars(stand_in)["_opt_called"] = True  # or it warns that its optimiser took no step
        return scheduler


def _settings(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    groups = optimizer.param_groups
    return [copy.deepcopy({n: v for n, v in g.items() if n != "params"}) for g in groups]


def _put_back(optimizer: torch.optim.Optimizer, settings: list[dict[str, Any]]) -> None:
    for group, before in zip(optimizer.param_groups, settings, strict=True):
        for name in group.keys() - before.keys() - {"params"}:
            del group[name]
        group.update(before)
