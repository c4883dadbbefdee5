"""Where networks and Pyro's store keep their tensors."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyro_decomp.acceleration.source import StepSource


class Place(NamedTuple):
    """An entry of a dictionary in which a parameter or buffer is kept.

    Attributes:
        kept: The dictionary.
        name: The key.
        path: The name that a network gives it.
        is_buffer: Whether it is a network's buffer.
    """

    kept: dict[str, Any]
    name: str
    path: str
    is_buffer: bool

    @property
    def key(self) -> tuple[int, str]:
        """A value that tells this place from every other."""
        return id(self.kept), self.name

    @property
    def tensor(self) -> Tensor:
        """The tensor that is kept at this place now."""
        tensor: Tensor = self.kept[self.name]
        return tensor

    def put(self, tensor: Tensor) -> None:
        """Keep another tensor at this place."""
        self.kept[self.name] = tensor


class Contents:
    """Which tensors are at places, and copies of what is in them, to be put back."""

    def __init__(self, places: Iterable[Place]) -> None:
        self.kept = [(place, place.tensor, place.tensor.detach().clone()) for place in places]

    def put_back(self) -> None:
        """Make places, and the tensors that were there, as they were."""
        for place, tensor, content in self.kept:
            place.put(tensor)
            if not torch.equal(tensor, content):
                tensor.data.copy_(content)


def places_of(source: StepSource) -> Iterator[Place]:
    """The places of all parameters and buffers of networks, then of what Pyro's store trains."""
    for path, part in parts_of(source):
        for is_buffer, kept in ((False, part._parameters), (True, part._buffers)):
            for name, tensor in kept.items():
                if tensor is not None:
                    yield Place(kept, name, f"{path}.{name}" if path else name, is_buffer)
    trained = {id(parameter) for parameter in source.parameters.values()}
    stored: dict[str, Tensor] = source.store._params
    for name, tensor in stored.items():
        if id(tensor) in trained:
            yield Place(stored, name, name, is_buffer=False)


def parts_of(source: StepSource) -> Iterator[tuple[str, nn.Module]]:
    """Every module within the networks once, with the name that its network gives it."""
    seen: set[nn.Module] = set()
    for module in source.modules:
        for path, part in module.named_modules():
            if part not in seen:
                seen.add(part)
                yield path, part
