"""What programs keep at one moment, as something that can be compared with another (internal).

A thing is compared by what it holds itself, without the things in it. Of a generator of random
numbers that is its state, which can be written back too.
"""

import copy
import io
import random
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from itertools import islice
from types import FunctionType, GeneratorType, ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pyro_decomp.programs.program_state.reachable import END, LIBRARIES, PLAIN
from pyro_decomp.programs.program_state.slots import ABSENT, MANY, ByType
from pyro_decomp.programs.program_state.walk import (
    CONTAINERS,
    ITERATORS,
    Node,
    around,
    is_flat,
    reduced,
)

SMALL_TENSOR = 4096  # numbers; of a larger one, which it is and how often it was written to
SMALL_ARRAY = 1 << 18  # bytes; of a larger one, every so manieth number
BUFFERS = (array, bytearray)  # of plain numbers, that can be written to
_IMMUTABLE = (
    *(np.generic, np.dtype, torch.dtype, torch.device, torch.Size, torch.layout),
    *(range, slice, torch.memory_format, type(...), type(NotImplemented)),
)
_COMPARED_BY_VALUE = {"datetime", "decimal", "fractions", "uuid", "pathlib", "re", "ipaddress"}


class TensorMark:
    """Which tensor there is, and what is in it as far as that costs little.

    Tensors of few numbers are the same if their numbers are; others, if they are one object that
    was not written to.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.kind = (tensor.dtype, tensor.shape, tensor.requires_grad)
        self.content = small_content(tensor)
        self.tensor, self.version = tensor, version_of(tensor)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorMark) or self.kind != other.kind:
            return False
        if self.content is not None and other.content is not None:
            return self.content == other.content
        return self.tensor is other.tensor and self.version == other.version

    __hash__ = None  # type: ignore[assignment]


class _Itself:
    """An object of which nothing is known but its identity."""

    def __init__(self, thing: Any) -> None:
        self.thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Itself) and self.thing is other.thing

    __hash__ = None  # type: ignore[assignment]


def own(thing: Any) -> Any:
    """What a thing holds itself, to be compared with what it held before; it is not altered."""
    kind = type(thing)
    if kind in PLAIN:
        return (kind, thing) if thing == thing else (kind, "not a number")  # noqa: PLR0124
    return _readers[kind](thing)


def content(tensor: Tensor) -> memoryview:
    """The bytes of a tensor's numbers, in the order of its indices."""
    plain = tensor.detach().cpu().contiguous()  # which leaves any stride to an axis of size 1
    return plain.as_strided([plain.numel()], [1]).view(torch.uint8).numpy().data


def small_content(tensor: Tensor) -> bytes | None:
    """The numbers in a tensor, None if there are many or they cannot be had."""
    if tensor.numel() > SMALL_TENSOR:
        return None
    try:
        return content(tensor).tobytes()
    except (RuntimeError, TypeError, ValueError):  # no memory of its own, as under vmap
        return None


def version_of(tensor: Tensor) -> int:
    """How often a tensor was written to."""
    try:
        return tensor._version
    except RuntimeError:  # made in inference mode
        return 0


def _find_reader(kind: type) -> Callable[[Any], Any]:
    """How the things of a type are read."""
    if getattr(kind, "_is_memory_of_programs", False):
        return lambda thing: kind
    for types, reader in _READERS:
        if issubclass(kind, types):
            return reader
    if is_random_kind(kind):
        return lambda generator: numbers_of(state_of(generator))
    if kind in ITERATORS:
        return lambda iterator: (kind, list(map(own, reduced(iterator))))
    if kind.__module__.partition(".")[0] in _COMPARED_BY_VALUE:
        return lambda thing: (kind, str(thing))
    is_closed = not getattr(kind, "__dictoffset__", 0) and kind.__module__ in LIBRARIES
    return _Itself if is_closed else lambda thing: kind


def _of_container(thing: Any) -> Any:
    kind, size = type(thing), len(thing)
    if not is_flat(thing):
        if size > MANY:
            ends = (*islice(thing, END), *islice(reversed(thing), END)) if _has_ends(thing) else ()
            return kind, size, [item for item in ends if type(item) in PLAIN]
        return kind, size
    if isinstance(thing, dict):
        keys = list(thing)
        return (
            kind,
            [k if type(k) in PLAIN else id(k) for k in keys],
            list(map(own, thing.values())),
        )
    if isinstance(thing, set | frozenset):
        return kind, set(thing)
    return kind, [item if item == item else "not a number" for item in thing]  # noqa: PLR0124


def _has_ends(thing: Any) -> bool:
    return isinstance(thing, list | tuple | deque | dict)


def _of_array(array: "np.ndarray[Any, Any]") -> Any:
    kind = array.shape, array.dtype
    if array.dtype.hasobject:
        return kind, [own(item) if type(item) in PLAIN else id(item) for item in array.flat[:END]]
    if array.nbytes <= SMALL_ARRAY:
        return kind, array.tobytes()
    step = -(-array.size // SMALL_TENSOR)
    return kind, array.reshape(-1)[::step].tobytes() if array.flags.c_contiguous else _Itself(array)


def _of_generator(generator: "GeneratorType[Any, Any, Any]") -> Any:
    frame = generator.gi_frame
    if frame is None:
        return GeneratorType, "finished"
    plain = {n: own(v) for n, v in frame.f_locals.items() if type(v) in PLAIN}
    return GeneratorType, frame.f_lasti, plain


def _of_file(file: io.IOBase) -> Any:
    try:
        if file.closed or file.writable() or not file.seekable():
            return type(file)
        return type(file), file.tell()
    except (OSError, ValueError):
        return type(file)


def _of_network(network: nn.Module) -> Any:
    return type(network)


_READERS: list[tuple[Any, Callable[[Any], Any]]] = [
    (Tensor, TensorMark),
    (np.ndarray, _of_array),
    (BUFFERS, lambda thing: (type(thing), bytes(thing))),
    (_IMMUTABLE, lambda thing: (type(thing), str(thing))),
    (nn.Module, _of_network),
    (CONTAINERS, _of_container),
    (FunctionType, lambda function: id(function.__code__)),
    ((type, ModuleType, Enum), id),
    (GeneratorType, _of_generator),
    (io.IOBase, _of_file),
]
_readers = ByType(_find_reader)


class _Generator(NamedTuple):
    """How the state of a generator is read and written."""

    read: Callable[[Any], Any]
    write: Callable[[Any, Any], None]


_GENERATORS: dict[type, _Generator] = {
    np.random.Generator: _Generator(
        lambda g: copy.deepcopy(g.bit_generator.state),
        lambda g, state: setattr(g.bit_generator, "state", state),
    ),
    np.random.RandomState: _Generator(
        lambda g: g.get_state(legacy=False), lambda g, state: g.set_state(state)
    ),
    random.Random: _Generator(random.Random.getstate, random.Random.setstate),
    torch.Generator: _Generator(lambda g: g.get_state(), lambda g, state: g.set_state(state)),
}


_generators: ByType[_Generator | None] = ByType(
    lambda kind: next(
        (found for base, found in _GENERATORS.items() if issubclass(kind, base)), None
    )
)


def is_random_kind(kind: type) -> bool:
    """Whether things of a type draw random numbers."""
    return _generators[kind] is not None


def is_random(thing: Any) -> bool:
    """Whether a thing draws random numbers."""
    return is_random_kind(type(thing))


def state_of(generator: Any) -> Any:
    """The state of a generator, in its library's own form."""
    kind = _generators[type(generator)]
    assert kind is not None
    return kind.read(generator)


def set_state_of(generator: Any, state: Any) -> None:
    """Put back what :func:`state_of` gave."""
    kind = _generators[type(generator)]
    assert kind is not None
    kind.write(generator, state)


def numbers_of(state: Any) -> list[Any]:
    """The numbers and words in a generator's state, so that two can be compared."""
    return list(_numbers(state))


def _numbers(state: Any) -> Iterator[Any]:
    if isinstance(state, dict):
        for name, value in state.items():
            yield name
            yield from _numbers(value)
    elif isinstance(state, np.ndarray | torch.Tensor):
        yield np.asarray(state).tobytes()
    elif isinstance(state, tuple) and any(isinstance(each, np.ndarray) for each in state):
        for each in state:
            yield from _numbers(each)
    else:
        yield state


class Fingerprint:
    """What programs keep at one moment, by dotted path, to be compared with another."""

    _is_memory_of_programs = True

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.marks: dict[str, Any] = {n.path: own(n.thing) for n in nodes if not n.is_part}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fingerprint) and self.marks == other.marks

    __hash__ = None  # type: ignore[assignment]

    def tensor(self, path: str) -> Tensor | None:
        """The tensor that was at a path; None if there was none."""
        mark = self.marks.get(path)
        return mark.tensor if isinstance(mark, TensorMark) else None

    def difference(self, other: "Fingerprint") -> dict[str, str]:
        """What moved between two moments.

        Returns:
            The dotted path of each thing that is different, and what it is at both: "tensor", which
            may only have been written, or "value". What is in a thing that is different itself is
            not named too.
        """
        if self.marks == other.marks:
            return {}
        moved: dict[str, str] = {}
        for path in {**self.marks, **other.marks}:
            mine, its = self.marks.get(path, ABSENT), other.marks.get(path, ABSENT)
            if mine != its and moved.keys().isdisjoint(around(path)):
                are_tensors = isinstance(mine, TensorMark) and isinstance(its, TensorMark)
                moved[path] = "tensor" if are_tensors else "value"
        return moved
