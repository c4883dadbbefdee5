"""Members of a batch, held against their own programs. Internal."""

from collections.abc import Mapping, Sequence

import torch

from pyro_decomp.acceleration.backends import StepOutputs
from pyro_decomp.acceleration.batched.steps import BatchedSteps
from pyro_decomp.acceleration.eager import EagerStep
from pyro_decomp.acceleration.errors import Departed
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.acceleration.verification import Audit, Budget, Wanted
from pyro_decomp.data.batches import Batch
from pyro_decomp.elbo.nonfinite import blame_gradients, remedy
from pyro_decomp.errors import NonFiniteError, listed, one_line

Pending = Wanted | Departed | None  # None where the objective is not finite by the programs


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
        self.budget = Budget()
        self._turn = 0

    def due(self, step: int, total: int, members: Sequence[int]) -> Sequence[int]:
        """The indices of the members, of those still trained, that are verified at a step."""
        if step == total or not members:
            return members
        if not self.budget.allows(step):
            return []
        self._turn += 1
        return [members[self._turn % len(members)]]

    def before(
        self, batches: Mapping[int, Batch], step: int, *, has_gradients: bool
    ) -> dict[int, Pending]:
        """Run the programs of members for a step that is about to be taken.

        ``batches`` are the data of each member that is verified, by its index.
        """
        pending = {}
        for index, batch in batches.items():
            self._steps.hand_back(index)
            with self.budget.spending(), torch.random.fork_rng(devices=[]):
                torch.set_rng_state(self._steps.generator(index))
                pending[index] = self._by_programs(index, batch, step, has_gradients)
        return pending

    def _by_programs(self, index: int, batch: Batch, step: int, has_gradients: bool) -> Pending:
        if moved := self._sources[index].moved():
            return Departed(f"{listed(moved)} changed between steps")
        try:
            return self._audits[index].by_programs(batch, step, has_gradients=has_gradients)
        except NonFiniteError:
            return None
        except Exception as error:  # whatever it is, a single run tells of it
            return Departed(f"its programs fail: {one_line(error)}")

    def after(self, pending: Mapping[int, Pending], results: StepOutputs) -> dict[int, str]:
        """By member, what differs in a step from what its programs gave, in a clause."""
        told = {}
        for index, wanted in pending.items():
            values = dict(zip(self._steps.names, results.values[index].tolist(), strict=True))
            self._steps.hand_back(index, results)
            if isinstance(wanted, Departed):
                told[index] = str(wanted)
            elif wanted is None:
                is_finite = torch.tensor(values["objective"]).isfinite()
                told[index] = "the objective is not finite by the programs" if is_finite else ""
            else:
                with self.budget.spending(), torch.random.fork_rng(devices=[]):
                    gradients = self._steps.gradients_of(index, results)
                    told[index] = self._audits[index].disagreement(wanted, values, gradients)
        return {index: why for index, why in told.items() if why}

    def why_nonfinite(self, index: int, batch: Batch, step: int) -> str:
        """Why the step that was just computed for a member is not finite, as a single run says.

        The member has its tensors from before the step.
        """
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(self._steps.generator(index, is_before=True))
            try:
                estimate, _ = EagerStep(self._sources[index]).estimate(batch, step)
            except NonFiniteError as error:
                return str(error)
        return blame_gradients({}, remedy(estimate, batch, step), step)
