"""A run at one moment, kept in memory, to go back to."""

from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from pyro_decomp.acceleration.capture.places import places_of
from pyro_decomp.acceleration.source import StepSource
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
        self._places = [(place, place.tensor, place.tensor.clone()) for place in places_of(source)]
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
        for place, tensor, content in self._places:
            place.put(tensor)
            tensor.data.copy_(content)
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
