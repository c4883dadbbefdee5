"""What a program reaches in one step: attributes, closure variables, globals, items of containers."""

import dis
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from torch import nn


class Slot(NamedTuple):
    """A place in which something is kept.

    Attributes:
        name: Of the attribute, variable or key, or the number of the item.
        get: What is kept there now.
        set: Keep something else there; None where the place cannot be written to.
    """

    name: str
    get: Callable[[], Any]
    set: Callable[[Any], None] | None


def slots(thing: Any) -> Iterator[Slot]:
    """The places of a thing, in a fixed order, each name once.

    A bound method has those of its owner and those of its function; a function its closure
    variables, the globals that it and the functions in it name, its defaults and attributes; a
    ``partial`` its function and arguments; a network its attributes, parameters, buffers and
    submodules by their own names; any other object its attributes and ``__slots__``; a container
    its items. Python modules, classes and plain values have none.
    """
    seen: set[str] = set()
    for slot in _all(thing):
        if slot.name not in seen:
            seen.add(slot.name)
            yield slot


def _all(thing: Any) -> Iterator[Slot]:
    if isinstance(thing, ModuleType | type):
        return
    if isinstance(thing, MethodType):
        yield from slots(thing.__self__)
        yield from slots(thing.__func__)
    elif isinstance(thing, FunctionType):
        yield from _of_function(thing)
    elif isinstance(thing, partial):
        yield Slot("func", lambda: thing.func, None)
        yield from _items(thing.args)
        yield from _items(thing.keywords)
    elif isinstance(thing, dict | list | tuple | deque):
        yield from _items(thing)
    elif isinstance(thing, set | frozenset):
        for index, item in enumerate(thing):
            yield Slot(str(index), partial(_given, item), None)
    else:
        yield from _attributes(thing)


def _of_function(function: FunctionType) -> Iterator[Slot]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if _is_filled(cell):
            yield Slot(name, partial(getattr, cell, "cell_contents"), partial(_fill, cell))
    variables = function.__globals__
    for name in _named_globals(function.__code__):
        if name in variables:
            yield _item(variables, name)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    for name, value in zip(names[len(names) - len(defaults) :], defaults, strict=True):
        yield Slot(name, partial(_given, value), None)
    yield from _items(function.__kwdefaults__ or {})
    yield from _items(vars(function))


def _attributes(thing: Any) -> Iterator[Slot]:
    found = getattr(thing, "__dict__", None)
    if isinstance(found, dict):
        inside = ("_parameters", "_buffers", "_modules") if isinstance(thing, nn.Module) else ()
        for name in list(found):
            if name not in inside:
                yield _attribute(thing, name)
        for kind in inside:
            yield from _items(found.get(kind, {}))
    for kind in type(thing).__mro__:
        names = vars(kind).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            if name not in ("__dict__", "__weakref__") and hasattr(thing, name):
                yield _attribute(thing, name)


def _items(container: Any) -> Iterator[Slot]:
    if isinstance(container, dict):
        yield from (_item(container, key) for key in list(container))
    elif isinstance(container, tuple):
        yield from (Slot(str(i), partial(_given, item), None) for i, item in enumerate(container))
    else:
        yield from (_item(container, index) for index in range(len(container)))


def _item(container: Any, key: Any) -> Slot:
    name = key if isinstance(key, str) else repr(key)
    return Slot(name, partial(container.__getitem__, key), partial(container.__setitem__, key))


def _attribute(thing: Any, name: str) -> Slot:
    return Slot(name, partial(getattr, thing, name), partial(setattr, thing, name))


def _named_globals(code: CodeType) -> Iterator[str]:
    """Names that are looked up as globals, by the functions and comprehensions inside too."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _named_globals(constant)


def _is_filled(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:  # the variable has no value yet
        return False
    return True


def _fill(cell: CellType, value: Any) -> None:
    cell.cell_contents = value


def _given(value: Any) -> Any:
    return value
