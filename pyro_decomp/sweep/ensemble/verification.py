"""Members of a batch, held against their own programs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from pyro_decomp.acceleration.steps.audit import Audit, Computed
from pyro_decomp.acceleration.steps.budget import Budget
from pyro_decomp.acceleration.steps.eager import EagerStep
from pyro_decomp.data.batches import Batch
from pyro_decomp.elbo.nonfinite import blame_gradients, remedy
from pyro_decomp.errors import NonFiniteError, one_line
from pyro_decomp.sweep.ensemble.trial import Trial


@dataclass(frozen=True)
class Pending:
    """A step of one member that is being audited.

    Attributes:
        member: The index of the member.
        batch: Its data.
        wanted: What its programs give; None if they fail.
        failure: How they fail, in a clause.
    """

    member: int
    batch: Batch
    wanted: Computed | None
    failure: str = field(default="")


class Verification:
    """Compares what a batch computes for its members with what their programs give.

    The comparison is that of single runs, :class:`.Audit`: all members
    before the first step and at the last, with the gradient by each parameter, and at steps 2, 4,
    8, ... one member in turn, by values and buffers, within the time that audits may take.

    Args:
        trials: The members.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._trials = trials
        self._audits = [Audit(trial.step_source, "float32") for trial in trials]
        self._budget = Budget()
        self._turn = 0

    def begin(self) -> None:
        """Count the time of the run from now on."""
        self._budget.begin()

    def due(self, step: int, total: int, members: Sequence[int]) -> Sequence[int]:
        """The members that are audited at a step.

        Args:
            step: The number of the step.
            total: That of the last.
            members: Those that are still trained.
        """
        if step == total or not members:
            return members
        if not self._budget.allows(step):
            return []
        self._turn += 1
        return [members[self._turn % len(members)]]

    def by_programs(
        self, member: int, batch: Batch, step: int, noise: torch.Tensor, *, has_gradients: bool
    ) -> Pending:
        """Run a member's programs for a step that is about to be taken; they are as before after.

        Args:
            member: The index of the member, whose tensors are as they are before the step.
            batch: Its data.
            step: The number of the step.
            noise: The state of its random generator.
            has_gradients: Compare the gradient by each parameter too.
        """
        with self._budget.spending(), torch.random.fork_rng(devices=[]):
            if moved := self._trials[member].moved():
                return Pending(member, batch, None, f"{moved} changed between steps")
            torch.set_rng_state(noise)
            audit = self._audits[member]
            try:
                wanted = audit.by_programs(batch, step, has_gradients=has_gradients)
            except NonFiniteError:
                return Pending(member, batch, None)
            except Exception as error:  # whatever it is, alone it is told of
                return Pending(member, batch, None, f"its programs fail: {one_line(error)}")
            return Pending(member, batch, wanted)

    def blame(self, member: int, batch: Batch, step: int, noise: torch.Tensor) -> str:
        """Why a member's step is not finite, in the words of a run alone.

        Args:
            member: The index of the member, whose tensors are as they are before the step.
            batch: Its data.
            step: The number of the step.
            noise: The state of its random generator.
        """
        trial = self._trials[member]
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(noise)
            try:
                estimate, _ = EagerStep(trial.step_source).estimate(batch, step)
            except NonFiniteError as error:
                return str(error)
        return blame_gradients({}, remedy(estimate, batch, step), step)

    def disagreement(self, pending: Pending, found: Computed, step: int) -> str:
        """What differs, in a clause; empty if nothing does.

        Args:
            pending: The step by the programs.
            found: The same step by the batch; buffers are those of the member's networks now.
            step: Its number.
        """
        if pending.wanted is None:
            is_finite = torch.tensor(found.values["objective"]).isfinite()
            unlike = "the objective is not finite by the programs" if is_finite else ""
            return pending.failure or unlike
        with self._budget.spending(), torch.random.fork_rng(devices=[]):
            audit = self._audits[pending.member]
            found.buffers.update(audit.buffers())
            return audit.disagreement(pending.wanted, found, pending.batch, step)
