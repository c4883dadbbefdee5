"""What Python may change between two steps, compared before each."""

from collections.abc import Hashable, Iterator, Sequence
from operator import is_
from types import FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from pyro_decomp.acceleration.capture.places import parts_of, places_of
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.elbo.numbers import Number


class Guard:
    """What a captured step takes for granted of the networks, the parameters and the objective.

    Comparing is for every step: by identity, some microseconds in all. Only where something is
    another object is it described by value.
    """

    def __init__(self, source: StepSource) -> None:
        self._programs = source.programs
        self._trained = list(source.parameters.values())
        self._parts = [part for _, part in parts_of(source)]
        self._names = [path for path, _ in parts_of(source)]
        self._carried = [place for place in places_of(source) if place.is_buffer]
        self._kept: list[dict[str, Any]] = [
            kept for part in self._parts for kept in (part._modules, part._parameters)
        ]
        self._structure = self._objects()
        self.renew()

    def holds(self) -> bool:
        """Whether no object of the programs was replaced since :meth:`renew`."""
        trained = self._trained
        now: list[Any] = []
        for container in self._containers:
            now += container.values() if type(container) is dict else container
        if len(now) != len(self._values):
            return False
        for place in self._free:
            now[place] = self._values[place]
        return (
            all(map(is_, now, self._values))
            and [p.requires_grad for p in trained] == self._asking
            and [part.training for part in self._parts] == self._modes
            and [p.data_ptr() for p in trained] == self._addresses
            and [tensor._version for tensor in self._tensors] == self._versions
            and [_kind(place.kept.get(place.name)) for place in self._carried] == self._kinds
            and not self.replaced()
        )

    def renew(self, free: Sequence[Number] = ()) -> None:
        """Take what there is now for granted.

        Args:
            free: Numbers of the objective that are not, as a graph takes them as inputs.
        """
        self._asking = [p.requires_grad for p in self._trained]
        self._modes = [part.training for part in self._parts]
        self._addresses = [p.data_ptr() for p in self._trained]
        self._kinds = [_kind(place.kept.get(place.name)) for place in self._carried]
        values = [weight.get() for weight in free]
        try:
            for weight in free:
                weight.set(_FREE)
            self._describe()
        finally:
            for weight, value in zip(free, values, strict=True):
                weight.set(value)

    def _describe(self) -> None:
        found: dict[str, Any] = {}
        self._tensors: list[Tensor] = []
        self._objective = _described(self._programs.elbo, "elbo", found, self._tensors, set())
        self._containers = list(found.values())
        self._paths = found.keys() | {
            f"{path}.{name}" for path, each in found.items() for name in _names(each)
        }
        self._values = [value for each in self._containers for value in _items(each)]
        self._free = [place for place, value in enumerate(self._values) if value is _FREE]
        self._versions = [tensor._version for tensor in self._tensors]

    def key(self) -> tuple[Any, ...]:
        """What is taken for granted, by value; where it is equal the same graph serves."""
        trained = tuple((tuple(p.shape), p.dtype, p.device) for p in self._trained)
        kinds = (tuple(self._asking), tuple(self._modes), trained, tuple(self._kinds))
        return (*kinds, self._objective)

    def replaced(self) -> str:
        """What is another object than at first, or hears of gradients; empty if nothing."""
        if any(p._backward_hooks or p._post_accumulate_grad_hooks for p in self._trained):
            return "a hook is on the gradient of a parameter"
        now = self._objects()
        if len(now) == len(self._structure) and all(map(is_, now, self._structure)):
            return ""
        programs = zip(("model", "guide", "objective"), now, self._structure, strict=False)
        for name, one, other in programs:
            if one is not other:
                return f"the {name} was replaced by another"
        return "a network or a parameter was replaced by another"

    def watches(self, path: str) -> bool:
        """Whether what is kept at a dotted path, from ``elbo`` for the objective, is compared."""
        return path.endswith(".training") or path in self._paths

    @property
    def addresses(self) -> list[int]:
        """Where the numbers of the trained parameters are."""
        return self._addresses

    def _objects(self) -> list[Any]:
        programs = self._programs
        found: list[Any] = [programs.model, programs.guide, programs.elbo]
        for kept in self._kept:
            if kept:
                found += kept.values()
        return found


_FREE: Any = object()  # in place of a number that may be another at every step


def _kind(tensor: Any) -> Any:
    return (tensor.shape, tensor.dtype) if isinstance(tensor, Tensor) else None


def _items(container: Any) -> Iterator[Any]:
    yield from container.values() if isinstance(container, dict) else container


def _names(container: Any) -> Iterator[Any]:
    yield from container if isinstance(container, dict) else range(len(container))


def _described(
    thing: Any, path: str, containers: dict[str, Any], tensors: list[Tensor], seen: set[int]
) -> Hashable:
    """A value by which things that compute the same are equal.

    Its dictionaries and sequences go into ``containers`` by their dotted paths, its tensors into
    ``tensors``; what is in ``seen`` was described before.
    """
    if thing is None or isinstance(thing, bool | int | float | str):
        return (type(thing), repr(thing))
    if isinstance(thing, Tensor):
        tensors.append(thing)
        return thing.item() if thing.numel() == 1 else (id(thing), thing._version)
    if id(thing) in seen or isinstance(thing, nn.Module | type | FunctionType | MethodType):
        return id(thing)
    seen.add(id(thing))
    if isinstance(thing, dict | list | tuple):
        containers[path] = thing
        pairs = thing.items() if isinstance(thing, dict) else enumerate(thing)
        return tuple(
            (str(name), _described(value, f"{path}.{name}", containers, tensors, seen))
            for name, value in pairs
        )
    kind: Any = type(thing)
    attributes = getattr(thing, "__dict__", None)
    is_memory = getattr(kind, "_is_memory_of_programs", False)  # of what was found out about them
    if not isinstance(attributes, dict) or is_memory:
        return kind
    return (kind, _described(attributes, path, containers, tensors, seen))
