"""When steps are held against the programs, and the last moment at which they agreed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from pyro_decomp.acceleration.eager import StepResult
from pyro_decomp.acceleration.errors import Departed
from pyro_decomp.acceleration.graph import GraphStep
from pyro_decomp.acceleration.moment import Kept, Moment
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.acceleration.verification import Audit, Computed
from pyro_decomp.data.batches import Batch
from pyro_decomp.programs.program_state import Fingerprint, ProgramState

SHARE, LEAST = 0.02, 0.02  # of the run's time, and seconds, that audits may take: the larger


class Budget:
    """The time that audits take, and at which steps there is some left for another."""

    def __init__(self) -> None:
        self._began, self._spent = time.monotonic(), 0.0

    def begin(self) -> None:
        """Count the run's time from now on."""
        self._began = time.monotonic()

    @contextmanager
    def spending(self) -> Iterator[None]:
        """What is done within it is part of an audit."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._spent += time.monotonic() - began

    def allows(self, step: int) -> bool:
        """Whether a step is one of 2, 4, 8, ... and audits have taken less than they may."""
        is_power = step > 1 and step & (step - 1) == 0
        return is_power and self._spent < max(LEAST, SHARE * (time.monotonic() - self._began))


@dataclass(frozen=True)
class _Pending:
    """A step that is being audited."""

    before: Moment
    wanted: Computed
    batch: Batch


class Auditor:
    """Holds the steps of a run against its programs, and remembers where they last agreed.

    That is done at the last step and at steps 2, 4, 8, ... as long as it has taken less than 2 % of
    the run's time or 20 ms, whichever is more.

    Args:
        source: What is trained.
        optimizer: Trains them.
        compute: The steps.
        precision: Of the products of networks.
        between: What else changes between steps, and is to go back with them.
    """

    def __init__(
        self,
        source: StepSource,
        optimizer: torch.optim.Optimizer,
        compute: GraphStep,
        *,
        precision: str,
        between: Kept | None = None,
    ) -> None:
        self._source, self._optimizer, self._compute = source, optimizer, compute
        hooks = (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks)
        others = [each for kept in hooks for each in kept.values()]
        self._others = ProgramState(
            networks=source.modules,
            tensors=source.parameters.values(),
            hooks=others,
        )
        self._between = [between] if between is not None else []
        self._audit = Audit(source, precision)
        self._budget = Budget()
        self._kept: Fingerprint | None = None
        self.agreed: Moment | None = None

    def begin(self, step: int, rows: int) -> None:
        """Take for right what there is before the first step that is taken."""
        self._budget.begin()
        self._kept = self._fingerprint(step)
        self.agreed = self._moment(step, rows)

    def check(self, step: int) -> None:
        """Compare what the programs keep in Python with what it was when training began.

        Raises:
            Departed: It moved, otherwise than a step follows; the message says what.
        """
        if self._kept is None:
            return
        moved = self._kept.difference(self._fingerprint(step))
        paths = [path for path in moved if not self._compute.follows(path)]
        if paths:
            raise Departed(f"{' and '.join(paths[:3])} changed between steps")

    def before(self, batch: Batch, step: int, rows: int) -> _Pending | None:
        """Run the programs for a step that is about to be taken; None if it is not audited.

        Raises:
            Departed: See :meth:`check`.
        """
        is_last = step == self._source.programs.total_steps
        if not is_last and not self._budget.allows(step):
            return None
        with self._budget.spending():
            self.check(step)
            moment = self._moment(step - 1, rows)
            wanted = self._audit.by_programs(batch, step, has_gradients=is_last)
        return _Pending(moment, wanted, batch)

    def after(self, pending: _Pending, result: StepResult, step: int) -> None:
        """Compare a step that was taken with what the programs gave.

        Raises:
            Departed: They differ; the message says in what.
        """
        with self._budget.spending():
            found = self._audit.of_step(self._compute, result.values)
            why = self._audit.disagreement(pending.wanted, found, pending.batch, step)
        if why:
            raise Departed(why)
        self.agreed = pending.before

    def go_back(self) -> tuple[Moment, list[str]]:
        """Make everything as it was when steps last agreed with the programs.

        Returns:
            That moment, and the paths of what the programs keep that could not be taken back.
        """
        assert self.agreed is not None
        assert self._kept is not None
        lost = self.agreed.put_back()
        moved = self._kept.difference(self._fingerprint(self.agreed.step))
        others = [path for path in moved if path not in lost and not self._compute.follows(path)]
        return self.agreed, [*lost, *others]

    def _fingerprint(self, step: int) -> Fingerprint:
        """With the numbers that schedules set as they are at the first step."""
        self._source.programs.apply_schedules(1)
        fingerprint = self._source.python.fingerprint()
        self._source.programs.apply_schedules(max(step, 1))
        return fingerprint

    def _moment(self, step: int, rows: int) -> Moment:
        programs = (self._source.python, self._others, *self._between)
        return Moment(step, rows, self._source, self._optimizer, programs)
