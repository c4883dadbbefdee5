"""When steps are held against the programs, and the last moment at which they agreed."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from pyro_decomp.acceleration.capture.places import Contents, places_of
from pyro_decomp.acceleration.eager import StepResult
from pyro_decomp.acceleration.errors import Departed
from pyro_decomp.acceleration.graph import GraphStep
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.acceleration.verification import Audit, Budget, Wanted
from pyro_decomp.data.batches import Batch
from pyro_decomp.programs.program_state import Fingerprint, ProgramState
from pyro_decomp.seeds import random_state, set_random_state


class Kept(Protocol):
    """What can be kept as it is at one moment, and put back."""

    def keep(self) -> Any:
        """What there is now."""

    def put_back(self, kept: Any, /) -> list[str]:
        """Make it as it was; paths of what could not be put back."""


class Moment:
    """Parameters, buffers, optimiser, random generators and Python state after some steps."""

    def __init__(
        self,
        step: int,
        rows: int,
        source: StepSource,
        optimizer: torch.optim.Optimizer,
        programs: Iterable[Kept],
    ) -> None:
        self.step, self.rows = step, rows
        self._optimizer = optimizer
        self._contents = Contents(places_of(source))
        asking = [(p, p.requires_grad) for p in source.parameters.values()]
        self._asking = asking
        self._settings = [
            {name: copied(value) for name, value in group.items() if name != "params"}
            for group in optimizer.param_groups
        ]
        self._kept = {p: copied(kept) for p, kept in optimizer.state.items()}
        self._random = random_state()
        self._programs = [(each, each.keep()) for each in programs]

    @torch.no_grad()
    def put_back(self) -> list[str]:
        """Make everything as it was; the paths of what programs keep that could not be put back."""
        lost: list[str] = []
        for each, kept in self._programs:
            unmoved = each.put_back(kept)
            lost = lost or unmoved  # of what both reach the programs' own names
        self._contents.put_back()
        for parameter, is_asking in self._asking:
            parameter.requires_grad_(is_asking)
            parameter.grad = None
        for group, settings in zip(self._optimizer.param_groups, self._settings, strict=False):
            group.update(copied(settings))
        self._optimizer.state.clear()
        self._optimizer.state.update({p: copied(kept) for p, kept in self._kept.items()})
        set_random_state(self._random)
        return lost


class Auditor:
    """Holds the steps of a run against its programs, and remembers where they last agreed.

    That is done at the last step and at steps 2, 4, 8, ... as long as it has taken less than 2 % of
    the run's time or 20 ms, whichever is more.

    ``between`` is what else changes between steps, and is to go back with them.
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

    def before(self, batch: Batch, step: int, rows: int) -> tuple[Moment, Wanted] | None:
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
        return moment, wanted

    def after(self, pending: tuple[Moment, Wanted], result: StepResult) -> None:
        """Compare a step that was taken with what the programs gave.

        Raises:
            Departed: They differ; the message says in what.
        """
        moment, wanted = pending
        with self._budget.spending():
            why = self._audit.disagreement(wanted, result.values, self._compute.gradients())
        if why:
            raise Departed(why)
        self.agreed = moment

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


def copied(value: Any) -> Any:
    """A copy of a nested value, with tensors of its own."""
    return tree_map(lambda each: each.clone() if isinstance(each, Tensor) else each, value)
