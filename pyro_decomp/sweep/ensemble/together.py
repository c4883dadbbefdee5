"""Members trained as one computation: parameters stacked, everything else each member's own."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.acceleration.capture import CaptureError, StepGraph, capture
from pyro_decomp.acceleration.flat_parameters import can_be_flat, split
from pyro_decomp.acceleration.fusion import FusionError
from pyro_decomp.acceleration.steps.audit import Computed
from pyro_decomp.acceleration.steps.moment import copied
from pyro_decomp.data.batches import Batch
from pyro_decomp.errors import DataError, ModelError
from pyro_decomp.sweep.ensemble.batched_step import BatchedStep, Results, fused, vectorized
from pyro_decomp.sweep.ensemble.draws import Draws
from pyro_decomp.sweep.ensemble.in_progress import ItemFile
from pyro_decomp.sweep.ensemble.stacked import Stacked
from pyro_decomp.sweep.ensemble.trial import Trial, own_numbers
from pyro_decomp.sweep.ensemble.verification import Pending, Verification
from pyro_decomp.training.loop import CHECKPOINT_SHARE, Loop
from pyro_decomp.training.run_folder import History

Report = Callable[[int, int], None]

FIRST_SAVE = 5.0  # seconds until the state of members is written for the first time
_made: dict[Hashable, dict[tuple[Any, ...], BatchedStep]] = {}  # of the last arithmetic


class BatchedRuns(Loop[Results]):
    """K members of one outline and signature, trained as one computation.

    Each has its own parameters, buffers, numbers, schedules, batches and draws, those that it would
    have as a single run. A member whose objective or gradient stops being finite is set aside as it
    was before that step, and cannot reach the others. Members are held against their own programs,
    see :class:`.Verification`; one that is not what its programs compute departs, and is to be
    trained again as a single run.

    Args:
        trials: The members.
        numbers: Names of those that are inputs of the step; by default of those that differ.
        how: "captured" does each operation for all members at once, "compiled" leaves that to
            torch's compiler, "fused" computes one member after another by loops in C.
        arithmetic: Tells what they compute from what others do; a step that was made before for as
            many members of the same is used again. None for what is to be made anew.
        file: Keeps the state of all members while they train; None keeps none.
        report: Called with the steps done, of all members, and the steps in all.

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
        file: ItemFile | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(
            [trial.experiment for trial in trials],
            [trial.state for trial in trials],
            [trial.member.seed for trial in trials],
        )
        self._save_cost = FIRST_SAVE / CHECKPOINT_SHARE
        self.trials = list(trials)
        self.how, self._file, self._report = how, file, report
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
        self._is_flat = is_steady and can_be_flat(trained[0], optimizer)
        self._stacked = Stacked(trained, optimizer, is_flat=self._is_flat)
        self._verification = Verification(self.trials)
        self._ready: dict[tuple[Any, ...], BatchedStep] = {}
        if arithmetic is not None:
            kind = (arithmetic, tuple(self._own_numbers), len(trials), how)
            if kind not in _made:
                _made.clear()
            self._ready = _made.setdefault(kind, {})
        same_data = len({trial.config["data_blake2b"] for trial in trials}) == 1
        self.shares_data = same_data and self._experiment.steps_per_epoch == 1
        self._draws = Draws([trial.random["torch"] for trial in trials])
        self._assigned = self._for(self._first_batch()).graph.assigned  # or it is refused
        self._for(self._alike([trial.experiment.batches[-1] for trial in trials]))

    def _checked(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """The batches of the next step.

        A member whose data cannot be trained on departs, which a single run tells of, and computes
        with another's batch in the place of its own.
        """
        for index, unseen in enumerate(self._unseen):
            if unseen.is_due and index not in self.departed:
                self._hand_back(index, self._buffers)
                try:
                    unseen.check(self.step, batches[0 if self.shares_data else index])
                except (ModelError, DataError) as error:
                    self.departed[index] = str(error)
        if self.shares_data or not self.left:
            return batches
        first = batches[self.left[0]]
        return [first if index in self.departed else own for index, own in enumerate(batches)]

    def _computed(self, batches: Sequence[Batch]) -> Results:
        step = self.step + 1
        due = self._verification.due(step, self.total_steps, self.left)
        pending = self._by_programs(due, batches, has_gradients=step == self.total_steps)
        results = self._results(self._joined(batches))
        self._verify(pending, results)
        return results

    def _set_aside_nonfinite(self, results: Results, batches: Sequence[Batch]) -> None:
        objective = self._named(results.values)["objective"]
        is_finite = objective.isfinite() & results.norms.isfinite()
        if bool(is_finite.all()):
            return
        for index in (~is_finite).nonzero().flatten().tolist():
            if index in self.set_aside:
                continue
            kept = copied(self.checkpoint(index))
            batch = batches[0 if self.shares_data else index]
            noise = self._draws.generator(index, is_before=True)
            why = self._verification.blame(index, batch, self.step + 1, noise)
            self.set_aside[index] = why, kept

    def _update(self, results: Results) -> None:
        limit = self._experiment.clip_grad_norm
        self._stacked.update(results.gradients, results.norms, limit)
        self._buffers = results.buffers

    def _values(self, results: Results) -> Sequence[dict[str, float]]:
        return [dict(zip(self._names, row, strict=True)) for row in results.values.tolist()]

    def _report_progress(self, rows: Mapping[int, Mapping[str, float]]) -> None:
        if self._report is not None:
            size = len(self.trials)
            self._report(self.step * size, self.total_steps * size)

    def _save(self) -> None:
        if self._file is not None:
            self._file.write(self.state_dict())

    def run(self, stop: Event, path: Path) -> None:
        """Train to the last step, or until a stop is asked for; see :meth:`.Loop.run`."""
        self._verification.begin()
        super().run(stop, path)

    def verify_first(self) -> None:
        """Hold all members against their programs on a first batch; nothing is trained."""
        batch = self._first_batch()
        firsts = [trial.experiment.batches[0] for trial in self.trials]
        each = [batch] if self.shares_data else firsts
        pending = self._by_programs(range(len(self.trials)), each, has_gradients=True)
        self._verify(pending, self._results(batch))
        self._draws = Draws([trial.random["torch"] for trial in self.trials])

    def checkpoint(self, index: int) -> dict[str, Any]:
        """What :func:`pyro_decomp.train` keeps of a member that has come as far as this."""
        if index in self.set_aside:
            return self.set_aside[index][1]
        self._hand_back(index, self._buffers)
        random = self.trials[index].random | {"torch": self._draws.generator(index)}
        return self._checkpoint(index, self._stacked.optimizer_of(index), random)

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on from here, as ``torch.save`` takes it."""
        return {
            "how": self.how,
            "step": self.step,
            "stacked": self._stacked.state_dict(),
            "buffers": self._buffers,
            "generators": self._draws.generators(),
            "histories": [_as_tensors(each) for each in self.histories],
            "set_aside": self.set_aside,
            "departed": self.departed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave for the same members."""
        self._stacked.load_state_dict(state["stacked"])
        self._buffers = state["buffers"]
        self._draws = Draws(state["generators"])
        self.step = state["step"]
        self.histories = [_as_lists(each) for each in state["histories"]]
        self.set_aside, self.departed = state["set_aside"], state["departed"]

    def _by_programs(
        self, due: Sequence[int], each: Sequence[Batch], *, has_gradients: bool
    ) -> list[Pending]:
        """What the programs of members give for the next step, their own batches being given."""
        pending = []
        for index in due:
            self._hand_back(index, self._buffers)
            batch, noise = each[0 if self.shares_data else index], self._draws.generator(index)
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
        if self._is_flat:
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
        return self._joined(each[:1] if self.shares_data else each)

    def _joined(self, each: Sequence[Batch]) -> Batch:
        if self.shares_data:
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
        key = (self.shares_data, *(tensor.shape for tensor in batch), *names)
        if key not in self._ready:
            trial = self.trials[0]
            one = batch if self.shares_data else [tensor[0] for tensor in batch]
            graph = capture(trial.step_source, one, names)
            if self._is_flat and not all(graph.has_gradient):
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
            return fused(graph, inputs, is_flat=self._is_flat)
        return vectorized(
            graph,
            self._inputs(batch, draws),
            shares_data=self.shares_data,
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


def _as_tensors(history: History) -> dict[str, Tensor]:
    return {name: torch.tensor(column, dtype=torch.float64) for name, column in history.items()}


def _as_lists(columns: Mapping[str, Tensor]) -> History:
    return {name: column.tolist() for name, column in columns.items()}
