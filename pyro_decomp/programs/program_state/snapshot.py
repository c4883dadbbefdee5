"""What programs keep at one moment, so that it can be put back."""

import copy
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from io import IOBase
from types import CellType, FunctionType, GeneratorType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyro_decomp.programs.program_state.fingerprint import (
    BUFFERS,
    is_random_kind,
    own,
    set_state_of,
    state_of,
    version_of,
)
from pyro_decomp.programs.program_state.reachable import (
    HOOKS,
    MODULE_INSIDE,
    PLAIN,
    attributes_of,
    in_slots,
    is_library,
    is_open,
    members,
    named,
    remembered,
)
from pyro_decomp.programs.program_state.slots import ABSENT, ByType, contents, context_value
from pyro_decomp.programs.program_state.walk import (
    ITERATORS,
    Node,
    around,
    is_iterator,
    parts_of_iterator,
)

LARGE = 10_000_000  # numbers; a larger tensor or array is not copied

Restore = Callable[[], object]
"""Puts one thing back; it gives False where the thing was different and cannot be put back."""


class Snapshot:
    """What programs keep, and how it is put back in place."""

    _is_memory_of_programs = True

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._restores: list[tuple[str, Restore]] = []
        self._places: dict[str, Node] = {}
        iterators: dict[int, list[Node]] = {}
        for node in nodes:
            if not node.is_part:
                self._places[node.path] = node
            if type(node.thing) in PLAIN:
                continue
            if type(node.thing) in ITERATORS:
                iterators.setdefault(id(node.thing), []).append(node)
                continue
            keeper = _keepers[type(node.thing)]
            self._restores += [(node.path, restore) for restore in keeper(node.thing)]
        for same in reversed(iterators.values()):  # inner ones first, and last of all things
            self._restores.append((same[0].path, _iterator(same)))

    def put_back(self) -> list[str]:
        """Put everything back, in the objects that held it.

        Returns:
            Paths of what was different and could not be put back.
        """
        return list(dict.fromkeys(path for path, restore in self._restores if restore() is False))

    def put_back_at(self, paths: Collection[str], nodes: Iterable[Node]) -> list[str]:
        """Put back what is at some paths alone, as :meth:`put_back` does with all."""
        now = {node.path: node for node in nodes if not node.is_part}
        unable = []
        for path in paths:
            self._put_in_place(path, now)
        inside = tuple(f"{path}." for path in paths)
        for path, restore in self._restores:
            if (path in paths or path.startswith(inside)) and restore() is False:
                unable.append(path)
        return list(dict.fromkeys(unable))

    def _put_in_place(self, path: str, now: Mapping[str, Node]) -> None:
        """Put back what was at a path, or the outermost thing around it that was replaced."""
        for place in around(path):
            before, after = self._places.get(place), now.get(place)
            if before is None or after is None or before.thing is after.thing:
                continue
            if before.slot is not None and before.slot.set is not None:
                before.slot.set(before.thing)
                return
        before, after = self._places.get(path), now.get(path)
        slot = after.slot if after is not None else before.slot if before is not None else None
        if slot is None:
            return
        if before is None and slot.access.empty is not None:
            slot.access.empty(slot.owner, slot.key)
        elif before is not None and slot.set is not None:  # of an object, maybe, not of its class
            slot.set(before.thing)


def _find_keeper(kind: type) -> Callable[[Any], Iterable[Restore]]:
    """A function that gives, of a thing of a type, what puts back all that it holds itself."""
    for types, keeper in _KEEPERS:
        if issubclass(kind, types):
            return keeper
    if is_random_kind(kind):
        return lambda generator: [partial(set_state_of, generator, state_of(generator))]
    if issubclass(kind, GeneratorType | IOBase):
        return lambda thing: [_unchanged(thing)]
    return _object if is_open(kind) else lambda _: ()


def _array(array: "np.ndarray[Any, Any]") -> Iterable[Restore]:
    is_kept = array.size <= LARGE and array.flags.writeable
    yield partial(_write, array, ..., array.copy()) if is_kept else _unchanged(array)


def _class(kind: type) -> Iterable[Restore]:
    if not is_library(kind.__module__):
        yield _named(kind, _public, type)


def _object(thing: Any) -> Iterable[Restore]:
    if isinstance(thing, dict):
        yield partial(_refill_dict, thing, dict(_base(thing).items(thing)))
    elif isinstance(thing, list | deque):
        yield partial(_refill_sequence, thing, list(thing))
    elif isinstance(thing, set):
        yield partial(_refill_set, thing, set(thing))
    inside = attributes_of(thing)
    if isinstance(thing, nn.Module):
        made_of = _made_of(thing)
        hooks = [(inside[kind], dict(inside[kind])) for kind in HOOKS if kind in inside]
        yield partial(_set_back_network, thing, made_of, _outside(inside, MODULE_INSIDE), hooks)
    elif left_out := remembered[type(thing)]:
        yield partial(_refill_rest, inside, _outside(inside, left_out), left_out)
    else:
        yield partial(_refill_dict, inside, dict(inside))
    if members[type(thing)]:
        yield _named(thing, in_slots, object)


def _outside(inside: dict[str, Any], left_out: Set[str]) -> dict[str, Any]:
    return {n: v for n, v in inside.items() if n not in left_out}


def _function(function: FunctionType) -> Iterable[Restore]:
    for cell in function.__closure__ or ():
        yield partial(_refill_cell, cell, contents(cell))
    variables = function.__globals__
    if not is_library(variables.get("__name__")):
        names, attributes = named(function.__code__)
        yield partial(_refill_names, variables, {n: variables.get(n, ABSENT) for n in names})
        for name in names:
            module = variables.get(name)
            if type(module) is ModuleType and not is_library(module.__name__):
                kept = {a: vars(module).get(a, ABSENT) for a in attributes}
                yield partial(_refill_names, vars(module), kept)
    yield partial(_refill_dict, vars(function), dict(vars(function)))


def _refill_cell(cell: CellType, kept: Any) -> None:
    if contents(cell) is not kept:
        if kept is ABSENT:
            del cell.cell_contents
        else:
            cell.cell_contents = kept


def _set_back_context(variable: "ContextVar[Any]", kept: Any) -> bool:
    if context_value(variable) is kept:
        return True
    if kept is ABSENT:
        return False
    variable.set(kept)
    return True


def _refill_names(variables: dict[str, Any], kept: dict[str, Any]) -> None:
    for name, value in kept.items():
        if variables.get(name, ABSENT) is value:
            continue
        if value is ABSENT:
            del variables[name]
        else:
            variables[name] = value


def _base(thing: dict[Any, Any]) -> type[dict[Any, Any]]:
    """The class whose methods change a dictionary, whatever its own class makes of them."""
    return OrderedDict if isinstance(thing, OrderedDict) else dict


def _is_same(now: dict[Any, Any], kept: dict[Any, Any]) -> bool:
    """Whether two dictionaries have one order and the very same objects."""
    pairs = zip(_base(now).items(now), kept.items(), strict=False)
    return len(now) == len(kept) and all(a is c and b is d for (a, b), (c, d) in pairs)


def _refill_dict(thing: Any, kept: dict[Any, Any]) -> None:
    if not _is_same(thing, kept):
        base = _base(thing)
        base.clear(thing)
        for key, value in kept.items():
            base.__setitem__(thing, key, value)


def _refill_sequence(thing: Any, kept: list[Any]) -> None:
    if len(thing) != len(kept) or any(a is not b for a, b in zip(thing, kept, strict=True)):
        base: Any = list if isinstance(thing, list) else deque
        base.clear(thing)
        base.extend(thing, kept)


def _write(thing: Any, where: Any, kept: Any) -> None:
    thing[where] = kept


def _refill_set(thing: set[Any], kept: set[Any]) -> None:
    set.clear(thing)
    set.update(thing, kept)


def _named(thing: Any, read: Callable[[Any], dict[str, Any]], base: Any) -> Restore:
    """What puts back values that a thing keeps under names, as its base class sets attributes."""
    kept = read(thing)

    def restore() -> None:
        now = read(thing)
        for name, value in kept.items():
            if now.get(name, ABSENT) is not value:
                base.__setattr__(thing, name, value)
        for name in now.keys() - kept.keys():
            base.__delattr__(thing, name)

    return restore


def _public(kind: type) -> dict[str, Any]:
    return {n: value for n, value in vars(kind).items() if not n.startswith("__")}


def _made_of(network: nn.Module) -> tuple[Any, ...]:
    """What a network is made of, which changes where it is built by its first run."""
    names = (network._parameters, network._buffers, network._modules)
    return (
        type(network),
        [list(each.keys()) for each in names],
        [*map(id, network._modules.values())],
    )


def _set_back_network(
    network: nn.Module,
    made_of: tuple[Any, ...],
    kept: dict[str, Any],
    hooks: Iterable[tuple[Any, dict[Any, Any]]],
) -> None:
    """Put back what a program keeps in a network; one that was built since stays as it is."""
    if _made_of(network) == made_of:
        for registered, before in hooks:
            _refill_dict(registered, before)
        _refill_rest(attributes_of(network), kept, MODULE_INSIDE)


def _refill_rest(inside: dict[str, Any], kept: dict[str, Any], left_out: Set[str]) -> None:
    if not _is_same(_outside(inside, left_out), kept):
        for name in _outside(inside, left_out):
            del inside[name]
        inside.update(kept)


def _tensor(tensor: Tensor) -> Iterable[Restore]:
    is_copied = tensor.numel() <= LARGE and tensor.layout == torch.strided and not tensor.is_meta
    kept = tensor.detach().clone() if is_copied else None
    version, needs_gradient = version_of(tensor), tensor.requires_grad

    def restore() -> bool | None:
        if tensor.is_leaf and tensor.requires_grad != needs_gradient:
            tensor.requires_grad_(needs_gradient)
        if kept is None:
            return version_of(tensor) == version
        if tensor.shape != kept.shape:
            tensor.data = kept.clone()
        elif version_of(tensor) != version or not torch.equal(tensor, kept):
            tensor.data.copy_(kept)
            if not tensor.is_inference():  # it is what it was at that version
                torch._C._autograd._unsafe_set_version_counter((tensor,), (version,))
        return None

    yield restore


def _unchanged(thing: Any) -> Restore:
    """A function that puts nothing back, and tells whether the thing holds what it held."""
    before = own(thing)
    return lambda: bool(own(thing) == before)


def _iterator(places: list[Node]) -> Restore:
    """A function that sets an iterator back, or puts a copy that stands where it stood there."""
    thing = places[0].thing
    before = own(thing)
    try:
        kept = _copy_of(thing)
    except TypeError:
        kept = None

    def restore() -> bool:
        if own(thing) == before:
            return True
        with suppress(AttributeError, TypeError):  # in place, unless it came to its end
            (*_, position) = kept.__reduce__()
            if not isinstance(thing, itertools.cycle):
                thing.__setstate__(position)
            if own(thing) == before:
                return True
        writes = [each.slot.set for each in places if each.slot is not None]
        if kept is None or not writes or None in writes:
            return False
        fresh = _copy_of(kept)
        for write in writes:
            write(fresh)  # type: ignore[misc]
        return bool(own(fresh) == before)

    return restore


def _copy_of(iterator: Any) -> Any:
    """A copy of an iterator that stands where it stands.

    Raises:
        TypeError: It goes through something that cannot be copied.
    """
    if not isinstance(iterator, itertools.cycle):
        return copy.copy(iterator)
    made_by: Any = iterator.__reduce__()  # a copy would share the iterator and what it saved
    _, (inner,), (saved, is_first_pass) = made_by
    if any(is_iterator(part) for part in parts_of_iterator(inner)):
        raise TypeError("an iterator of iterators")
    fresh: Any = itertools.cycle(copy.copy(inner))
    fresh.__setstate__((list(saved), is_first_pass))
    return fresh


_KEEPERS: tuple[tuple[Any, Callable[[Any], Iterable[Restore]]], ...] = (
    (Tensor, _tensor),
    (np.ndarray, _array),
    (BUFFERS, lambda buffer: [partial(_write, buffer, slice(None), buffer[:])]),
    (FunctionType, _function),
    (type, _class),
    (ModuleType, lambda _: ()),
    (ContextVar, lambda variable: [partial(_set_back_context, variable, context_value(variable))]),
)
_keepers = ByType(_find_keeper)
