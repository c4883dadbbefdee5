"""Members of a batch, held against their own programs. Internal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from pyro_decomp.acceleration.auditor import Budget
from pyro_decomp.acceleration.batched.backends import Results
from pyro_decomp.acceleration.batched.steps import BatchedSteps
from pyro_decomp.acceleration.eager import EagerStep
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.acceleration.verification import Audit, Computed
from pyro_decomp.data.batches import Batch
from pyro_decomp.elbo.nonfinite import blame_gradients, remedy
from pyro_decomp.errors import NonFiniteError, listed, one_line


@dataclass(frozen=True)
class _Pending:
    """A step of one member that is being verified.

    Attributes:
        batch: The member's data.
        wanted: What its programs give; None if they fail.
        failure: How they fail, in a clause.
    """

    batch: Batch
    wanted: Computed | None
    failure: str = ""


class BatchVerification:
    """Compares what a batch computes for its members with what their programs give.

    The comparison is that of single runs, :class:`.Audit`: all members before the first step and at
    the last, with the gradient by each parameter, and at steps 2, 4, 8, ... one member in turn, by
    values and buffers, within the time that verification may take. Members are handed their tensors
    for it; everything else is as before afterwards.
    """

    def __init__(self, sources: Sequence[StepSource], steps: BatchedSteps) -> None:
        self._sources, self._steps = sources, steps
        self._audits = [Audit(source, "float32") for source in sources]
        self._budget = Budget()
        self._turn = 0

    def begin(self) -> None:
        """Count the time of the run from now on."""
        self._budget.begin()

    def due(self, step: int, total: int, members: Sequence[int]) -> Sequence[int]:
        """Indices of those of some members that are verified at a step, the last being total."""
        if step == total or not members:
            return members
        if not self._budget.allows(step):
            return []
        self._turn += 1
        return [members[self._turn % len(members)]]

    def before(
        self, batches: Mapping[int, Batch], step: int, *, has_gradients: bool
    ) -> dict[int, _Pending]:
        """Run the programs of members for a step that is about to be taken.

        Returns:
            What :meth:`after` is to be given, by member.
        """
        pending = {}
        for index, batch in batches.items():
            self._steps.hand_back(index)
            with self._budget.spending(), torch.random.fork_rng(devices=[]):
                torch.set_rng_state(self._steps.generator(index))
                pending[index] = self._by_programs(index, batch, step, has_gradients)
        return pending

    def _by_programs(self, index: int, batch: Batch, step: int, has_gradients: bool) -> _Pending:
        if moved := self._sources[index].moved():
            return _Pending(batch, None, f"{listed(moved)} changed between steps")
        try:
            audit = self._audits[index]
            return _Pending(batch, audit.by_programs(batch, step, has_gradients=has_gradients))
        except NonFiniteError:
            return _Pending(batch, None)
        except Exception as error:  # whatever it is, a single run tells of it
            return _Pending(batch, None, f"its programs fail: {one_line(error)}")

    def after(self, pending: Mapping[int, _Pending], results: Results, step: int) -> dict[int, str]:
        """Compare a step with what the programs of members gave."""
        told = {}
        for index, each in pending.items():
            values = dict(zip(self._steps.names, results.values[index].tolist(), strict=True))
            self._steps.hand_back(index, results)
            audit = self._audits[index]
            if each.wanted is None:
                is_finite = torch.tensor(values["objective"]).isfinite()
                unlike = "the objective is not finite by the programs" if is_finite else ""
                told[index] = each.failure or unlike
                continue
            with self._budget.spending(), torch.random.fork_rng(devices=[]):
                gradients = self._steps.gradients_of(index, results)
                found = Computed(values, audit.buffers(), gradients)
                told[index] = audit.disagreement(each.wanted, found, each.batch, step)
        return {index: why for index, why in told.items() if why}

    def why_nonfinite(self, index: int, batch: Batch, step: int) -> str:
        """Why the step that was just computed for a member is not finite, as a single run says."""
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._steps.generator(index, is_before=True))
            try:
                estimate, _ = EagerStep(self._sources[index]).estimate(batch, step)
            except NonFiniteError as error:
                return str(error)
        return blame_gradients({}, remedy(estimate, batch, step), step)
