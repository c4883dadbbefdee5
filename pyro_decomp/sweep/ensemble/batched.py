"""Members trained as one computation: parameters stacked, everything else each member's own."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.acceleration import BatchedSteps, BatchVerification, StepOutputs, copied
from pyro_decomp.data.batches import Batch
from pyro_decomp.errors import DataError, ModelError
from pyro_decomp.sweep.ensemble.item_checkpoint import ItemCheckpoint
from pyro_decomp.sweep.ensemble.member_run import MemberRun, own_numbers
from pyro_decomp.training.interruption import StopRequest
from pyro_decomp.training.loop import CHECKPOINT_SHARE, Loop, Row
from pyro_decomp.training.run_files.history import History
from pyro_decomp.training.run_files.run_config import identity

Report = Callable[[int, int], None]

FIRST_SAVE = 5.0  # seconds until the state of members is written for the first time


class BatchedRuns(Loop[StepOutputs]):
    """K members with one computation graph, trained as one computation.

    Each has its own parameters, buffers, numbers, schedules, batches and draws, those that it would
    have as a single run. A member whose objective or gradient stops being finite is set aside as it
    was before that step, and cannot reach the others. Members are held against their own programs,
    see :class:`.BatchVerification`; one that is not what its programs compute departs, and is to be
    trained again as a single run. So does one whose parameters stop being finite.

    Args:
        runs: The members.
        numbers: Names of those that are inputs of the step; by default of those that differ.
        backend: "captured" does each operation for all members at once, "compiled" leaves that to
            torch's compiler, "fused" computes one member after another by loops in C.
        graph: Tells their computation graph from others; a step that was made before for as many
            members of the same is used again. None for what is to be made anew.
        file: Keeps the state of all members while they train; None keeps none.
        report: Called with the steps done, of all members, and the steps in all.

    Raises:
        CaptureError: The step cannot be captured, or not for several members at once.
        FusionError: It is to be fused, and cannot be.
    """

    def __init__(
        self,
        runs: Sequence[MemberRun],
        numbers: Sequence[str] | None = None,
        *,
        backend: str = "captured",
        graph: Hashable | None = None,
        file: ItemCheckpoint | None = None,
        report: Report | None = None,
    ) -> None:
        super().__init__(
            [run.experiment for run in runs],
            [run.state for run in runs],
            [run.member.seed for run in runs],
        )
        self._save_cost = FIRST_SAVE / CHECKPOINT_SHARE
        self.runs = list(runs)
        self.backend, self._file, self._report = backend, file, report
        experiment = runs[0].experiment
        same_data = len({run.config["data_blake2b"] for run in runs}) == 1
        self.shares_data = same_data and experiment.steps_per_epoch == 1
        sources = [run.step_source for run in runs]
        self._steps = BatchedSteps(
            sources,
            own_numbers(runs) if numbers is None else numbers,
            runs[0].optimizer(),
            [run.random["torch"] for run in runs],
            backend=backend,
            shares_data=self.shares_data,
            kind=graph,
        )
        self._verification = BatchVerification(sources, self._steps)
        self.environments: list[dict[str, Any]] = []  # that computed its steps

    def _checked(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """The batches of the next step.

        A member whose data cannot be trained on departs, which a single run tells of, and computes
        with another's batch in the place of its own.
        """
        for index, unseen in enumerate(self._unseen):
            if unseen.is_due and index not in self.departed:
                self._steps.hand_back(index)
                try:
                    unseen.check(self.step, self._own(batches, index))
                except (ModelError, DataError) as error:
                    self.departed[index] = str(error)
        if self.shares_data or not self.left:
            return batches
        first = batches[self.left[0]]
        return [first if index in self.departed else own for index, own in enumerate(batches)]

    def _computed(self, batches: Sequence[Batch]) -> StepOutputs:
        step = self.step + 1
        due = self._verification.due(step, self.total_steps, self.left)
        return self._verified(due, batches, step, has_gradients=step == self.total_steps)

    def _verified(
        self, due: Sequence[int], batches: Sequence[Batch], step: int, *, has_gradients: bool
    ) -> StepOutputs:
        """A step, and which of the members that are due depart in it from their programs."""
        own = {index: self._own(batches, index) for index in due}
        pending = self._verification.before(own, step, has_gradients=has_gradients)
        results = self._results(batches)
        self.departed |= self._verification.after(pending, results)
        return results

    def _results(self, batches: Sequence[Batch]) -> StepOutputs:
        return self._steps(batches, self._num_alike())

    def _own(self, batches: Sequence[Batch], index: int) -> Batch:
        return batches[0 if self.shares_data else index]

    def _set_aside_nonfinite(self, results: StepOutputs, batches: Sequence[Batch]) -> None:
        objective = results.values[:, self._steps.names.index("objective")]
        assert results.norm is not None
        is_finite = objective.isfinite() & results.norm.isfinite()
        if bool(is_finite.all()):
            return
        self._leave_nonfinite()
        for index in (~is_finite).nonzero().flatten().tolist():
            if index in self.left:
                kept, batch = copied(self.checkpoint(index)), self._own(batches, index)
                why = self._verification.why_nonfinite(index, batch, self.step + 1)
                self.set_aside[index] = why, kept

    def _leave_nonfinite(self) -> None:
        """Have members whose parameters are not finite depart: what they were before is gone."""
        for index, is_finite in enumerate(self._steps.are_finite()):
            if not is_finite and index in self.left:
                self.departed[index] = f"its parameters are not finite after step {self.step}"

    def _update(self, results: StepOutputs) -> None:
        self._steps.update(results, self.experiments[0].clip_grad_norm)

    def _values(self, results: StepOutputs) -> Sequence[dict[str, float]]:
        return [dict(zip(self._steps.names, row, strict=True)) for row in results.values.tolist()]

    def _tell_of_step(self, rows: Mapping[int, Row], means: Mapping[int, Row]) -> None:
        if self._report is not None and self.is_row:
            size = len(self.runs)
            self._report(self.step * size, self.total_steps * size)

    def _save(self) -> None:
        self._leave_nonfinite()
        if self._file is not None:
            self._file.write(self.state_dict())

    def run(self, stop: StopRequest, path: Path) -> None:
        """Train to the last step, or until a stop is asked for; see :meth:`.Loop.run`."""
        self._verification.budget.begin()
        super().run(stop, path)

    def verify_first(self) -> None:
        """Hold all members against their programs on a first batch; nothing is trained."""
        firsts = [experiment.batches[0] for experiment in self.experiments]
        batches = firsts[:1] if self.shares_data else firsts
        self._verified(range(len(self.runs)), batches, 1, has_gradients=True)
        self._steps.rewind()

    def checkpoint(self, index: int) -> dict[str, Any]:
        """What :func:`pyro_decomp.train` keeps of a member that has come as far as this."""
        if index in self.set_aside:
            return self.set_aside[index][1]
        self._steps.hand_back(index)
        random = self.runs[index].random | {"torch": self._steps.generator(index)}
        return self._checkpoint(index, self._steps.optimizer_of(index), random)

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on from here, as ``torch.save`` takes it."""
        return {
            "backend": self.backend,
            "runs": [identity(run.config) for run in self.runs],
            "step": self.step,
            "environments": self.environments,
            "steps": self._steps.state_dict(),
            "histories": [_as_tensors(each) for each in self.histories],
            "epoch_sums": self._sums,
            "set_aside": self.set_aside,
            "departed": self.departed,
        }

    def is_mine(self, state: Mapping[str, Any]) -> bool:
        """Whether a state is of these members; older ones do not say whose they are."""
        mine = [identity(run.config) for run in self.runs]
        return state.get("backend") == self.backend and state.get("runs", mine) == mine

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave for the same members."""
        self._steps.load_state_dict(state["steps"])
        self.step = state["step"]
        self.environments = [dict(each) for each in state.get("environments", [])]
        self.histories = [_as_lists(each) for each in state["histories"]]
        self._sums = state.get("epoch_sums", self._sums)
        self.set_aside, self.departed = state["set_aside"], state["departed"]

    def _num_alike(self) -> int:
        """Steps until the last of an epoch, whose batch may be smaller, this one included."""
        per_epoch = self._steps_per_epoch
        if per_epoch == 1:
            return self.total_steps - self.step
        return max(1, per_epoch - 1 - self.step % per_epoch)


def _as_tensors(history: History) -> dict[str, Tensor]:
    return {name: torch.tensor(column, dtype=torch.float64) for name, column in history.items()}


def _as_lists(columns: Mapping[str, Tensor]) -> History:
    return {name: column.tolist() for name, column in columns.items()}
