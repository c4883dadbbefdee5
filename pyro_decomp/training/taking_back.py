"""What a step moves before the optimiser does, to be taken back where the step fails."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from pyro_decomp.acceleration import Contents, Place, StepSource, places_of


class BegunStep:
    """Takes back a step that fails before its update: noise that was drawn, buffers that moved.

    torch's generator, and the buffers that the first step moved, are kept before every step, which
    takes microseconds. The other generators and what programs keep in Python are not: where they
    are no longer as in the last checkpoint, nothing can be taken back to a later step.

    Args:
        source: What steps are computed from.
        device: Where.
    """

    def __init__(self, source: StepSource, device: torch.device) -> None:
        self._device = device if device.type == "cuda" else None
        self._places = [place for place in places_of(source) if place.is_buffer]
        self._first: Contents | None = None
        self._kept: Contents | None = None
        self._moving: Sequence[Place] = self._places
        self._noise: list[Tensor] = []
        self._parameters = list(source.parameters.values())
        self._versions: list[int] = []

    def keep(self) -> None:
        """Keep what there is between two steps."""
        if self._first is None:
            self._first = Contents(self._places)
        elif self._moving is self._places:
            self._moving = [place for place, *before in self._first.kept if _moved(place, *before)]
        self._kept = Contents(self._moving)
        self._versions = [parameter._version for parameter in self._parameters]
        self._noise = [torch.default_generator.get_state()]
        if self._device is not None:
            self._noise.append(torch.cuda.get_rng_state(self._device))

    def forget(self) -> None:
        """Take nothing back: the update has begun."""
        self._kept = None

    def take_back(self) -> bool:
        """Put back what :meth:`keep` kept; False if parameters or other buffers moved."""
        if self._first is None or self._kept is None:
            return False
        if self._versions != [parameter._version for parameter in self._parameters]:
            return False
        moving = {place.key for place in self._moving}
        for place, *before in self._first.kept:
            if place.key not in moving and _moved(place, *before):
                return False
        self._kept.put_back()
        torch.default_generator.set_state(self._noise[0])
        if self._device is not None:
            torch.cuda.set_rng_state(self._noise[1], self._device)
        return True


def is_same(one: Any, other: Any) -> bool:
    """Whether nested plain values and tensors are equal."""
    (parts, form), (others, other_form) = tree_flatten(one), tree_flatten(other)
    return form == other_form and all(map(_is_equal, parts, others))


def _is_equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


def _moved(place: Place, tensor: Tensor, content: Tensor) -> bool:
    return place.tensor is not tensor or not torch.equal(tensor, content)
