"""A run at one moment, kept in memory, to go back to."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from pyro_decomp.acceleration.capture.places import Contents, places_of
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.programs.program_state import ProgramState
from pyro_decomp.seeds import random_state, set_random_state


class Moment:
    """Parameters, buffers, optimiser, random generators and Python state after some steps.

    Args:
        step: Steps done.
        rows: Rows of the history by then.
        source: The networks and parameters.
        optimizer: Trains them.
        programs: What the programs, and a user's functions that run between steps, keep in Python.
    """

    def __init__(
        self,
        step: int,
        rows: int,
        source: StepSource,
        optimizer: torch.optim.Optimizer,
        programs: Iterable[ProgramState],
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


def copied(value: Any) -> Any:
    """A copy of a nested value, with tensors of its own."""
    return tree_map(lambda each: each.clone() if isinstance(each, Tensor) else each, value)
