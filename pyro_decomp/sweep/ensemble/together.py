"""Members trained as one computation: parameters stacked, everything else each member's own."""

import math
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.acceleration.capture import CaptureError, StepGraph, capture
from pyro_decomp.acceleration.fusion import FusionError
from pyro_decomp.acceleration.joined_optimizer import may_be_joined, split
from pyro_decomp.acceleration.steps.audit import Computed
from pyro_decomp.acceleration.steps.moment import copied
from pyro_decomp.data.batches import Batch
from pyro_decomp.errors import DataError, ModelError
from pyro_decomp.sweep.ensemble.batched_step import BatchedStep, Results, fused, vectorized
from pyro_decomp.sweep.ensemble.draws import Draws
from pyro_decomp.sweep.ensemble.stacked import Stacked
from pyro_decomp.sweep.ensemble.trial import Trial, own_numbers
from pyro_decomp.sweep.ensemble.verification import Pending, Verification
from pyro_decomp.training.data_support import Unseen
from pyro_decomp.training.loop import BATCH_STREAM, MAX_HISTORY_ROWS, batches
from pyro_decomp.training.run_folder import History

_made: dict[Hashable, dict[tuple[Any, ...], BatchedStep]] = {}  # of the last arithmetic


class Together:
    """K members of one outline and signature, and the steps that change them.

    Each has its own parameters, buffers, numbers, schedules, batches and draws, those that it would
    have alone. A member whose objective or gradient stops being finite is set aside as it was
    before that step, and cannot reach the others. Members are held against their own programs, see
    :class:`.Verification`; one that is not what its programs
    compute is to be trained again, alone.

    Args:
        trials: The members.
        numbers: Names of those that are inputs of the step; by default of those that differ.
        how: "captured" does each operation for all members at once, "compiled" leaves that to
            torch's compiler, "fused" computes one member after another by loops in C.
        arithmetic: Tells what they do from what others do; a step that was made before for as many
            members of the same is used again. None for what is to be made anew.

    Attributes:
        step: Steps done.
        set_aside: Index of a member to why, and its checkpoint.
        departed: Index of a member that is not what its programs compute, or whose data cannot be
            trained on, to how that was seen.

    Raises:
        CaptureError: The step cannot be captured, or not for several members at once.
        FusionError: It is to be fused, and cannot be.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        numbers: Sequence[str] | None = None,
        *,
        how: str = "captured",
        arithmetic: Hashable | None = None,
    ) -> None:
        self.trials = list(trials)
        self.step = 0
        self.set_aside: dict[int, tuple[str, dict[str, Any]]] = {}
        self.departed: dict[int, str] = {}
        self.how = how
        self._experiment = trials[0].experiment
        self._own_numbers = own_numbers(trials) if numbers is None else list(numbers)
        self._fixed_numbers: list[Tensor] | None = None
        self._slots = [trial.slots(self._numbers()) for trial in trials]
        self._frozen, self._buffers = (
            [torch.stack([t.detach() for t in each]) for each in zip(*tensors, strict=True)]
            for tensors in (
                [slots.frozen for slots in self._slots],
                [slots.buffers for slots in self._slots],
            )
        )
        trained = [slots.trained for slots in self._slots]
        is_steady = how == "fused" and not self._experiment.schedules  # as for one run alone
        optimizer = trials[0].optimizer(trained[0])
        self._is_joined = is_steady and may_be_joined(trained[0], optimizer)
        self._stacked = Stacked(trained, optimizer, is_joined=self._is_joined)
        self._verification = Verification(self.trials)
        self._unseen = [
            Unseen(trial.experiment, trial.state.modules, trial.member.seed, BATCH_STREAM)
            for trial in trials
        ]
        self._ready: dict[tuple[Any, ...], BatchedStep] = {}
        if arithmetic is not None:
            kind = (arithmetic, tuple(self._own_numbers), len(trials), how)
            if kind not in _made:
                _made.clear()
            self._ready = _made.setdefault(kind, {})
        self._rows: list[tuple[int, dict[str, Tensor], list[dict[str, float]]]] = []
        self._log_every = -(-self.total_steps // MAX_HISTORY_ROWS)
        same_data = len({trial.config["data_blake2b"] for trial in trials}) == 1
        self._shares_data = same_data and self._experiment.steps_per_epoch == 1
        self._draws = Draws([trial.random["torch"] for trial in trials])
        self._assigned = self._for(self._first_batch()).graph.assigned  # or it is refused
        self._for(self._alike([trial.experiment.batches[-1] for trial in trials]))

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, the same for all members."""
        return self._experiment.total_steps

    def take_steps(self) -> Iterator[int]:
        """Train to the end; gives the number of every step once it is done."""
        streams = [
            batches(trial.experiment, trial.member.seed, BATCH_STREAM, self.step)
            for trial in self.trials
        ]
        if self._shares_data:
            streams = streams[:1]
        self._verification.begin()
        for found in zip(*streams, strict=True):
            step = self.step + 1
            each = self._checked(found)
            if not each:
                return
            scheduled = [t.experiment.apply_schedules(step) for t in self.trials]
            gone = {*self.set_aside, *self.departed}
            due = self._verification.due(step, self.total_steps, gone)
            is_last = step == self.total_steps
            pending = self._by_programs(due, each, has_gradients=is_last)
            results = self._results(self._joined(each))
            self._verify(pending, results)
            values = self._named(results.values)
            self._set_aside_failing(values, results.norms, each)
            limit = self._experiment.clip_grad_norm
            self._stacked.update(results.gradients, results.norms, limit)
            self._buffers = results.buffers
            self.step += 1
            if self.step % self._log_every == 0 or self.step in (1, self.total_steps):
                self._rows.append((self.step, values, scheduled))
            yield self.step
            if len({*self.set_aside, *self.departed}) == len(self.trials):
                return

    def _checked(self, each: Sequence[Batch]) -> Sequence[Batch]:
        """The batches of the next step; none if no member is left that can take it.

        A member whose data cannot be trained on is left to be told of when it is trained alone, and
        computes with another's batch in the place of its own.
        """
        for index, unseen in enumerate(self._unseen):
            if unseen.is_due and index not in self.departed:
                self._hand_back(index, self._buffers)
                try:
                    unseen.check(self.step, each[0 if self._shares_data else index])
                except (ModelError, DataError) as error:
                    self.departed[index] = str(error)
        gone = {*self.set_aside, *self.departed}
        left = [index for index in range(len(self.trials)) if index not in gone]
        if self._shares_data or not left:
            return each if left else []
        return [each[left[0] if index in self.departed else index] for index in range(len(each))]

    def verify_first(self) -> None:
        """Hold all members against their programs on a first batch; nothing is trained."""
        batch = self._first_batch()
        firsts = [trial.experiment.batches[0] for trial in self.trials]
        each = [batch] if self._shares_data else firsts
        pending = self._by_programs(range(len(self.trials)), each, has_gradients=True)
        self._verify(pending, self._results(batch))
        self._draws = Draws([trial.random["torch"] for trial in self.trials])

    def checkpoint(self, index: int) -> dict[str, Any]:
        """What :func:`pyro_decomp.train` keeps of a member that has come as far as this."""
        if index in self.set_aside:
            return self.set_aside[index][1]
        trial = self.trials[index]
        self._hand_back(index, self._buffers)
        with trial.experiment.at_first_step():  # what schedules set is theirs to set again
            python = trial.state.python()
        return {
            "step": self.step,
            "rows": len(self._rows),
            "optimizer": self._stacked.optimizer_of(index),
            "auxiliaries": {},
            "random": trial.random | {"torch": self._draws.generator(index)},
            "python": python,
            **trial.state.tensors(),
        }

    def history(self, index: int) -> History:
        """The columns of a member's ``history.csv``."""
        columns: History = {"step": [], "epoch": []}
        for step, values, scheduled in self._rows[: self.checkpoint(index)["rows"]]:
            epoch = (step - 1) // self._experiment.steps_per_epoch + 1
            found = {name: value[index].item() for name, value in values.items()}
            row = {"step": float(step), "epoch": float(epoch), **found, **scheduled[index]}
            for name in row:
                columns.setdefault(name, [math.nan] * (len(columns["step"])))
            for name, column in columns.items():
                column.append(row.get(name, math.nan))
        return columns

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on from here, as ``torch.save`` takes it."""
        return {
            "how": self.how,
            "step": self.step,
            "stacked": self._stacked.state_dict(),
            "buffers": self._buffers,
            "generators": self._draws.generators(),
            "rows": self._rows,
            "set_aside": self.set_aside,
            "departed": self.departed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave for the same members."""
        self._stacked.load_state_dict(state["stacked"])
        self._buffers = state["buffers"]
        self._draws = Draws(state["generators"])
        self.step, self._rows = state["step"], state["rows"]
        self.set_aside, self.departed = state["set_aside"], state["departed"]

    def _by_programs(
        self, due: Sequence[int], each: Sequence[Batch], *, has_gradients: bool
    ) -> list[Pending]:
        """What the programs of members give for the next step, their own batches being given."""
        pending = []
        for index in due:
            self._hand_back(index, self._buffers)
            batch, noise = each[0 if self._shares_data else index], self._draws.generator(index)
            step = self.step + 1
            pending.append(
                self._verification.by_programs(
                    index, batch, step, noise, has_gradients=has_gradients
                )
            )
        return pending

    def _verify(self, pending: Sequence[Pending], results: Results) -> None:
        """Note the members whose step is not what their programs gave."""
        for each in pending:
            index = each.member
            values = {name: v[index].item() for name, v in self._named(results.values).items()}
            self._hand_back(index, results.buffers)
            found = Computed(values, {}, self._gradients_of(index, results))
            if why := self._verification.disagreement(each, found, self.step + 1):
                self.departed[index] = why

    def _gradients_of(self, index: int, results: Results) -> dict[str, Tensor]:
        """A member's gradients by the names of its parameters."""
        own = self.trials[index].state.parameters
        each = [None if gradient is None else gradient[index] for gradient in results.gradients]
        if self._is_joined:
            each = split(each[0], list(own.values()))
        named = zip(own, each, strict=True)
        return {name: gradient for name, gradient in named if gradient is not None}

    @torch.no_grad()
    def _hand_back(self, index: int, buffers: Sequence[Tensor]) -> None:
        """Let a member's networks and store have what its part of the batch has come to."""
        slots = self._slots[index]
        for own, stacked in zip(slots.trained, self._stacked.parameters, strict=True):
            own.copy_(stacked[index])
        pairs = zip(slots.buffers, buffers, strict=True)
        left = [stacked[index].to(own.dtype, copy=True) for own, stacked in pairs]
        slots.put(left, self._assigned)

    def _first_batch(self) -> Batch:
        return self._alike([trial.experiment.batches[0] for trial in self.trials])

    def _alike(self, each: Sequence[Batch]) -> Batch:
        return self._joined(each[:1] if self._shares_data else each)

    def _joined(self, each: Sequence[Batch]) -> Batch:
        if self._shares_data:
            return each[0]
        return tuple(torch.stack(tensors) for tensors in zip(*each, strict=True))

    def _numbers(self) -> list[str]:
        """Names of the numbers that are inputs: what a weight of 0 weighs is not computed."""
        first = self.trials[0]
        return [name for name in self._own_numbers if not first.is_zero_weight(name)]

    def _inputs(self, batch: Batch, draws: Sequence[Tensor]) -> list[Tensor]:
        if self._fixed_numbers is None or self._experiment.schedules:
            like = self._stacked.parameters[0].detach()
            self._fixed_numbers = [
                like.new_tensor([trial.number(name) for trial in self.trials])
                for name in self._numbers()
            ]
        numbers = self._fixed_numbers
        trained = [parameter.detach() for parameter in self._stacked.parameters]
        return [*trained, *self._frozen, *self._buffers, *numbers, *batch, *draws]

    def _for(self, batch: Batch) -> BatchedStep:
        names = self._numbers()
        key = (self._shares_data, *(tensor.shape for tensor in batch), *names)
        if key not in self._ready:
            trial = self.trials[0]
            one = batch if self._shares_data else [tensor[0] for tensor in batch]
            graph = capture(trial.step_source, one, names)
            if self._is_joined and not all(graph.has_gradient):
                raise FusionError("the objective does not depend on all parameters")
            if [*map(id, graph.slots.buffers)] != [*map(id, self._slots[0].buffers)]:
                raise CaptureError("the smaller last batch of an epoch changes other buffers")
            self._check_buffers(graph, one)
            self._ready[key] = self._step_of(graph, batch, one)
        return self._ready[key]

    @torch.no_grad()
    def _check_buffers(self, graph: StepGraph, batch: Sequence[Tensor]) -> None:
        """Refuse programs that assign buffers of other shapes than those they found."""
        buffers, at = graph.slots.buffers, len(graph.slots.trained) + 1
        draws = Draws([self.trials[0].random["torch"]]).next(graph.draw)
        given = [*graph.slots.inputs(), *batch, *(draw[0] for draw in draws)]
        left = graph.module(*given)[at:] if any(graph.assigned) else buffers
        for one, other in zip(buffers, left, strict=True):
            if (one.shape, one.dtype) != (other.shape, other.dtype):
                raise CaptureError(
                    f"the programs assign a buffer of shape {tuple(one.shape)} ({one.dtype}) one "
                    f"of shape {tuple(other.shape)} ({other.dtype})"
                )

    def _step_of(self, graph: StepGraph, batch: Batch, one: Sequence[Tensor]) -> BatchedStep:
        generators = [trial.random["torch"] for trial in self.trials]
        draws = Draws(generators).next(graph.draw)
        if self.how == "fused":
            inputs = [*graph.slots.inputs(), *one, *(draw[0] for draw in draws)]
            return fused(graph, inputs, is_joined=self._is_joined)
        return vectorized(
            graph,
            self._inputs(batch, draws),
            shares_data=self._shares_data,
            is_compiled=self.how == "compiled",
        )

    def _results(self, batch: Batch) -> Results:
        ready = self._for(batch)
        self._names, self._assigned = ready.graph.names, ready.graph.assigned
        draws = self._draws.next(ready.graph.draw, self._steps_alike())
        return ready.run(self._inputs(batch, draws))

    def _named(self, values: Tensor) -> dict[str, Tensor]:
        return dict(zip(self._names, values.unbind(1), strict=True))

    def _steps_alike(self) -> int:
        """Steps until the last of an epoch, whose batch may be smaller, this one included."""
        per_epoch = self._experiment.steps_per_epoch
        if per_epoch == 1:
            return self.total_steps - self.step
        return max(1, per_epoch - 1 - self.step % per_epoch)

    def _set_aside_failing(
        self, values: dict[str, Tensor], norms: Tensor, each: Sequence[Batch]
    ) -> None:
        is_finite = values["objective"].isfinite() & norms.isfinite()
        if bool(is_finite.all()):
            return
        for index in (~is_finite).nonzero().flatten().tolist():
            if index in self.set_aside:
                continue
            kept = copied(self.checkpoint(index))
            batch = each[0 if self._shares_data else index]
            noise = self._draws.generator(index, is_before=True)
            self.set_aside[index] = (
                self._verification.blame(index, batch, self.step + 1, noise),
                kept,
            )
