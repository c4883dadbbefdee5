"""The one training loop: what a step does, in what order, and when it is logged and saved."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Generic, TypeVar

from pyro_decomp.data.batches import Batch
from pyro_decomp.seeds import derive
from pyro_decomp.training.data_support import Unseen
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.interruption import Interrupted, StopRequest
from pyro_decomp.training.run_files.history import History
from pyro_decomp.training.state import State

BATCH_STREAM, AUXILIARY_STREAM = 2, 3
MAX_HISTORY_ROWS = 10_000
CHECKPOINT_SHARE = 50  # a checkpoint is written when this many times its cost has gone by

R = TypeVar("R")  # what the computation of one step gives
Row = dict[str, float]


class ExecutionWarning(UserWarning):
    """The steps of a run are computed otherwise than they were to be."""


class Loop(ABC, Generic[R]):
    """The training of K members that take their steps at the same time; one run is K = 1.

    :meth:`take_steps` orders what a step does. How values and gradients are computed, how
    parameters are changed and where a checkpoint is kept is a subclass's:
    :class:`.SingleRun` for one member, :class:`.BatchedRuns` for several.

    Args:
        experiments: Of each member, what is trained; all take as many steps.
        states: Of each member, its networks and parameters.
        seeds: Of each member, the seed of its batches.
        streams: The streams of random numbers that a member's batches of one step come from.

    Attributes:
        step: Steps done.
        total_steps: Steps of the whole run, the same for all members.
        histories: Of each member, the columns of its ``history.csv``.
        set_aside: Index of a member whose objective or gradient is not finite to why, and its
            checkpoint from before that step.
        departed: Index of a member that is to be trained by itself to why.
        stopped: Why no step is to follow, though not all were taken; empty if they are to.
    """

    shares_data = False  # whether all members train on the same batch
    is_watched = False  # whether the values of every step are asked for

    def __init__(
        self,
        experiments: Sequence[Experiment],
        states: Sequence[State],
        seeds: Sequence[int],
        streams: Sequence[int] = (BATCH_STREAM,),
    ) -> None:
        self.experiments, self.states = list(experiments), list(states)
        self.step = 0
        self._all = list(range(len(self.experiments)))
        self.histories: list[History] = [{} for _ in experiments]
        self.set_aside: dict[int, tuple[str, dict[str, Any]]] = {}
        self.departed: dict[int, str] = {}
        self._seeds, self._streams = list(seeds), streams
        self._unseen = [
            Unseen(experiment, state.modules, seed, *streams)
            for experiment, state, seed in zip(experiments, states, seeds, strict=True)
        ]
        self.total_steps = self.experiments[0].total_steps
        self._steps_per_epoch = self.experiments[0].steps_per_epoch
        epochs = self.experiments[0].epochs
        rows_per_epoch = max(1, MAX_HISTORY_ROWS // epochs)
        self._steps_between_rows = -(-self._steps_per_epoch // rows_per_epoch)
        self._epochs_between_rows = -(-epochs // MAX_HISTORY_ROWS)
        self._sums: list[dict[str, float]] = [{} for _ in experiments]  # over the epoch so far
        self.stopped = ""
        self._saved_at, self._save_cost = time.monotonic(), 0.0

    @property
    def left(self) -> list[int]:
        """Indices of the members that are still trained."""
        if not (self.set_aside or self.departed):
            return self._all
        gone = {*self.set_aside, *self.departed}
        return [index for index in self._all if index not in gone]

    def run(self, stop: StopRequest, path: Path) -> None:
        """Train to the last step, or until a stop is asked for or no member is left.

        Args:
            stop: Set when the user asks for a stop.
            path: The folder that the message of an interruption names.

        Raises:
            Interrupted: A stop was asked for; all that was done is saved.
        """
        self._saved_at = time.monotonic()
        while self.step < self.total_steps and self.left and not self.stopped:
            if stop.is_set():
                raise Interrupted(self.step, path, stop.signal)
            self._go_on(stop, path)

    def _go_on(self, stop: StopRequest, path: Path) -> None:
        for step in self.take_steps():
            if stop.is_set():
                self.save()
                raise Interrupted(step, path, stop.signal)
            if step == self.total_steps or self.stopped or self._checkpoint_is_due():
                self.save()
            if self.stopped:
                return

    def take_steps(self) -> Iterator[int]:
        """Take step after step; gives the number of each once it is done.

        The order: data that are new are checked, schedules set their numbers, values and gradients
        are computed and held against the programs, members with a value or gradient that is not
        finite are set aside, the gradient is clipped, the optimiser changes the parameters,
        auxiliary networks are trained, and the values are logged.
        """
        self._begin_step()
        for found in self._batches():
            batches = self._checked(found)
            if not self.left:
                return
            scheduled = [each.apply_schedules(self.step + 1) for each in self.experiments]
            result = self._computed(batches)
            self._set_aside_nonfinite(result, batches)
            self._update(result)
            losses = self._train_auxiliaries(result, batches)
            self.step += 1
            if self.is_row or self.is_watched or self._steps_per_epoch > 1:
                self._note(self._values(result), scheduled, losses)
            self._end_step()
            yield self.step
            self._begin_step()

    def _batches(self) -> Iterator[Sequence[Batch]]:
        """The batches of the steps that are left: of every member one from each stream."""
        each = [
            batches(experiment, seed, stream, self.step)
            for experiment, seed in zip(self.experiments, self._seeds, strict=True)
            for stream in self._streams
        ]
        return zip(*(each[:1] if self.shares_data else each), strict=True)

    def _begin_step(self) -> None:
        """Keep what a step moves before its update, so that one that fails can be taken back."""

    def _end_step(self) -> None:
        """Note that the last step is whole: parameters and history are of the same step."""

    @abstractmethod
    def _checked(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """The batches to train on, once those that are seen for the first time are checked."""

    @abstractmethod
    def _computed(self, batches: Sequence[Batch]) -> R:
        """Values and gradients of the next step, held against the programs where that is due."""

    @abstractmethod
    def _set_aside_nonfinite(self, result: R, batches: Sequence[Batch]) -> None:
        """Keep members whose values or gradients are not finite as they were before the step."""

    @abstractmethod
    def _update(self, result: R) -> None:
        """Clip the gradients, and let the optimiser change the parameters."""

    def _train_auxiliaries(self, result: R, batches: Sequence[Batch]) -> dict[str, float]:
        """One step of every auxiliary network, and the loss of each by name."""
        return {}

    @abstractmethod
    def _values(self, result: R) -> Sequence[dict[str, float]]:
        """What is logged of a step, by name, for every member."""

    @abstractmethod
    def _tell_of_step(self, rows: Mapping[int, Row], means: Mapping[int, Row]) -> None:
        """Tell how far the training is.

        Args:
            rows: The values of the step by member; they are in the history if :attr:`is_row`.
            means: At the end of an epoch of several steps, their means over it; else empty.
        """

    @abstractmethod
    def _save(self) -> None:
        """Write a checkpoint, from which training goes on to the same bits."""

    def save(self) -> None:
        """Write a checkpoint, and note what it cost."""
        start = time.monotonic()
        self._save()
        self._saved_at = time.monotonic()
        self._save_cost = self._saved_at - start

    def _checkpoint_is_due(self) -> bool:
        return time.monotonic() - self._saved_at > max(1.0, CHECKPOINT_SHARE * self._save_cost)

    def num_rows(self, index: int = 0) -> int:
        """Rows of a member's history."""
        return len(self.histories[index].get("step", ()))

    @property
    def epoch(self) -> int:
        """The epoch that the last step was in, from 1."""
        return (self.step - 1) // self._steps_per_epoch + 1

    @property
    def is_row(self) -> bool:
        """Whether the last step is a row of the history: the first, the last, ends of epochs.

        Every step is in a run of at most 10,000; in a longer one those that are equally far apart
        within an epoch, or, of more than 10,000 epochs, the ends of some.
        """
        if self.step in (1, self.total_steps):
            return True
        within = self.step % self._steps_per_epoch
        is_in_epoch = self.epoch % self._epochs_between_rows == 0
        return is_in_epoch and within % self._steps_between_rows == 0

    def _note(self, values: Sequence[Row], scheduled: Sequence[Row], losses: Row) -> None:
        """Add the values of a step to the means over its epoch, log them, and tell of them."""
        rows, means = {}, {}
        for index in self.left:
            rows[index] = values[index] | scheduled[index] | losses
            means[index] = self._means(index, values[index] | losses)
            if self.is_row:
                self._log(index, rows[index] | {f"epoch_{n}": v for n, v in means[index].items()})
        self._end_step()
        self._tell_of_step(rows, means)

    def _means(self, index: int, values: Mapping[str, float]) -> Row:
        """Add the values of a step to the sums over its epoch; at its end, the means over data."""
        per_epoch, experiment = self._steps_per_epoch, self.experiments[index]
        if per_epoch == 1:
            return {}
        is_last, total = self.step % per_epoch == 0, len(experiment.data)
        size = experiment.data_per_step
        if is_last:
            size = total - (per_epoch - 1) * size
        sums = self._sums[index]
        for name, value in (("", 1.0), *values.items()):
            sums[name] = sums.get(name, 0.0) + size * value
        if not is_last:
            return {}
        self._sums[index] = {}
        seen = sums.pop("")  # fewer than all where an older run was resumed within its epoch
        return {name: value / total for name, value in sums.items()} if seen == total else {}

    def _log(self, index: int, values: Mapping[str, float]) -> None:
        row = {"step": self.step, "epoch": self.epoch, **values}
        rows, history = self.num_rows(index), self.histories[index]
        for name in [name for name in row if name not in history]:
            history[name] = [math.nan] * rows
        for name, column in history.items():
            column.append(row.get(name, math.nan))

    def _checkpoint(
        self,
        index: int,
        optimizer: dict[str, Any],
        random: dict[str, Any],
        auxiliaries: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """What ``checkpoint.pt`` holds of a member whose tensors are in its networks."""
        sums = {"epoch_sums": dict(self._sums[index])} if self._sums[index] else {}
        return {
            "step": self.step,
            "rows": self.num_rows(index),
            **sums,
            "optimizer": optimizer,
            "auxiliaries": auxiliaries or {},
            "random": random,
            "python": self.python(index),
            **self.states[index].tensors(),
        }

    def python(self, index: int) -> dict[str, Any]:
        """What a member's programs keep in Python."""
        with self.experiments[index].at_first_step():  # what schedules set is theirs to set again
            return self.states[index].python()


def batches(experiment: Experiment, seed: int, stream: int, step: int = 0) -> Iterator[Batch]:
    """The batches after a step; a permutation is a function of seed, stream and epoch."""
    data, per_epoch = experiment.data, experiment.steps_per_epoch
    size = experiment.data_per_step
    if per_epoch == 1:
        yield from repeat(data[:], experiment.epochs - step)
        return
    for epoch in range(step // per_epoch, experiment.epochs):
        first = step % per_epoch if epoch == step // per_epoch else 0
        yield from data.shuffled(size, seed=derive(seed, stream, epoch), first=first)
