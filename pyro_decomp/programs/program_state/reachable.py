"""What a program reaches in one step: attributes, closure variables, globals, items."""

import dis
import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import ContextVar
from enum import Enum
from functools import _lru_cache_wrapper, cached_property, lru_cache, partial
from itertools import islice
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np
import torch
from pyro.params.param_store import ParamStoreDict
from torch import Tensor, nn

from pyro_decomp.programs.program_state.slots import (
    ABSENT,
    ATTRIBUTE,
    CELL,
    CONTEXT,
    FIXED,
    ITEM,
    MANY,
    ByType,
    Slot,
    contents,
    context_value,
    part,
)

PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
END = 100
# Code that keeps nothing from which a program computes, but much else.
LIBRARIES = frozenset(sys.stdlib_module_names) | {
    *("numpy", "pyro", "pyro_decomp", "torch", "torchvision", "functorch", "opt_einsum", "scipy"),
    *("sklearn", "pandas", "matplotlib", "PIL", "tqdm", "rich", "typer", "pytest", "_pytest"),
    *("beartype", "jaxtyping", "IPython", "ray", "zuko"),
}
# Of the standard library, modules whose objects are containers of the user's.
OPEN = {"argparse", "builtins", "collections", "contextlib", "functools", "types"}
_CLOSED = (ModuleType, Tensor, np.ndarray, np.generic, Enum, ParamStoreDict, torch.Size)
_OF_TRANSFORMS = frozenset(
    f"_cached_{name}"
    for name in ("x_y", "log_scale", "logDetJ", "A", "C", "T_C", "W_pre", "log_df_inv_dx")
)
_MACHINERY = (
    *(FunctionType, _lru_cache_wrapper, staticmethod, classmethod),
    *(property, cached_property, MemberDescriptorType),
)
HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    *("_state_dict_hooks", "_state_dict_pre_hooks"),
    *("_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
)
"""Where networks keep the hooks that are registered on them."""
MODULE_INSIDE = (frozenset(vars(nn.Module())) - {"training"}) | {
    *("_pyro_name", "_pyro_context", "_pyro_params", "_pyro_samples")
}
"""What torch and Pyro themselves keep in every network."""


def slots(thing: Any) -> Iterator[Slot]:
    """The places of a thing, in a fixed order, each name once.

    A bound method has those of its owner and those of its function; a function its closure
    variables, the globals that it and the functions in it name, its defaults and attributes, and
    those of the function that it wraps; a ``partial`` its function's and its arguments, by the
    names of the parameters; a network its attributes, parameters, buffers and submodules by their
    own names; any other object its attributes and ``__slots__``, and the attributes and methods of
    its class if that is no library's; a container its items; a context variable its value. Plain
    values and tensors have none.
    """
    seen: set[str] = set()
    parts, waiting = {id(thing)}, [iter(places(thing))]
    while waiting:
        slot = next(waiting[-1], None)
        if slot is None:
            waiting.pop()
        elif not slot.name:
            if id(slot.value) not in parts:
                parts.add(id(slot.value))
                waiting.append(iter(places(slot.value)))
        elif slot.name not in seen:
            seen.add(slot.name)
            yield slot


def places(thing: Any) -> list[Slot]:
    """The places of :func:`slots`, with parts that stand for the whole as places of their own."""
    return list(_finders[type(thing)](thing))


def is_library(name: object) -> bool:
    """Whether a Python module belongs to a library that keeps nothing for programs."""
    return isinstance(name, str) and name.partition(".")[0] in LIBRARIES


def _find_remembered(kind: type) -> frozenset[str]:
    if issubclass(kind, torch.distributions.Transform):
        return _OF_TRANSFORMS
    found: frozenset[str] = getattr(kind, "_found_out_of_programs", frozenset())
    return found


def _find_finder(kind: type) -> Callable[[Any], Iterable[Slot]]:
    """How the places of things of a type are found."""
    for types, finder in _FINDERS:
        if issubclass(kind, types):
            return finder
    if kind in PLAIN or not is_open(kind):
        return _nothing
    if issubclass(kind, nn.Module):
        return _of_network
    if issubclass(kind, dict | list | tuple | deque | set | frozenset):
        return _items if kind.__module__ in OPEN else _of_container
    return _attributes


def is_open(kind: type) -> bool:
    """Whether objects of a type are searched for what they keep."""
    if issubclass(kind, _CLOSED) or getattr(kind, "_is_memory_of_programs", False):
        return False
    top = kind.__module__.partition(".")[0] if isinstance(kind.__module__, str) else ""
    return top not in sys.stdlib_module_names or top in OPEN


def _nothing(thing: Any) -> Iterable[Slot]:
    return ()


def _of_method(method: Any) -> Iterator[Slot]:
    if method.__self__ is not None and not isinstance(method.__self__, ModuleType):
        yield part(method.__self__)
    if isinstance(method, MethodType):
        yield part(method.__func__)


def _of_partial(thing: "partial[Any]") -> Iterator[Slot]:
    yield part(thing.func)
    names: tuple[str, ...] = ()
    function = thing.func
    if isinstance(function, MethodType):
        names = function.__func__.__code__.co_varnames[1:]
    elif isinstance(function, FunctionType):
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
    for index, value in enumerate(thing.args):
        name = names[index] if index < len(names) else str(index)
        yield Slot(name, value, thing.args, index, FIXED)
    yield from _items(thing.keywords)


def _of_cached(thing: Any) -> Iterator[Slot]:
    """The places of a function that remembers its results: the function and the results."""
    yield part(thing.__wrapped__)
    known = {id(thing.__wrapped__), id(vars(thing))}
    found: list[Any] = []
    for each in gc.get_referents(thing):
        if id(each) not in known and type(each) not in (type, object):
            found += each.values() if type(each) is dict else [each]
    kept = (each for each in found if type(each).__name__ != "_lru_list_elem")
    for index, each in enumerate(islice(kept, END)):
        yield Slot(f"cached_{index}", each, thing, index, FIXED)


def _of_context_variable(variable: "ContextVar[Any]") -> Iterator[Slot]:
    if (value := context_value(variable)) is not ABSENT:
        yield Slot("value", value, variable, None, CONTEXT)


def _of_function(function: FunctionType) -> Iterator[Slot]:
    wrapped = vars(function).get("__wrapped__")
    if wrapped is not None:
        yield part(wrapped)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if (value := contents(cell)) is not ABSENT:
            yield Slot(name, value, cell, None, CELL)
    variables = function.__globals__
    if not is_library(variables.get("__name__")):
        globals_, attributes = named(function.__code__)
        for name in globals_:
            if name not in variables:
                continue
            value = variables[name]
            yield Slot(name, value, variables, name, ITEM)
            if type(value) is ModuleType and not is_library(value.__name__):
                inside = vars(value)
                for attribute in attributes:
                    if attribute in inside:
                        full = f"{name}.{attribute}"
                        yield Slot(full, inside[attribute], inside, attribute, ITEM)
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    defaults = function.__defaults__ or ()
    for name, value in zip(names[len(names) - len(defaults) :], defaults, strict=True):
        yield Slot(name, value, defaults, name, FIXED)
    yield from _items(function.__kwdefaults__ or {})
    for name, value in list(vars(function).items()):
        if name != "__wrapped__":
            yield Slot(name, value, vars(function), name, ITEM)


def _of_network(network: nn.Module) -> Iterator[Slot]:
    inside, left_out = attributes_of(network), remembered[type(network)]
    for name, value in list(inside.items()):
        if name not in MODULE_INSIDE and name not in left_out and name != "training":
            yield Slot(name, value, network, name, ATTRIBUTE)
    for kind in ("_parameters", "_buffers", "_modules"):
        kept = inside.get(kind)
        if kept:  # of a scripted network not a dictionary
            yield from _items(kept if isinstance(kept, dict) else dict(kept.items()))
    for kind in HOOKS:
        hooks = inside.get(kind)
        for index, hook in enumerate(list(hooks.values()) if hooks else ()):
            yield Slot(f"{kind[1:]}.{index}", hook, hooks, index, FIXED)
    yield from _of_kind(type(network))


def _attributes(thing: Any) -> Iterator[Slot]:
    left_out = remembered[type(thing)]
    for name, value in list(attributes_of(thing).items()):
        if name not in left_out:
            yield Slot(str(name), value, thing, name, ATTRIBUTE)
    for name, value in in_slots(thing).items():
        yield Slot(name, value, thing, name, ATTRIBUTE)
    yield from _of_kind(type(thing))


def _of_container(thing: Any) -> Iterator[Slot]:
    yield from _items(thing)
    yield from _attributes(thing)


def _of_kind(kind: type) -> Iterator[Slot]:
    if not is_library(kind.__module__):
        yield part(kind)


def _of_class(kind: type) -> Iterator[Slot]:
    """Attributes and functions of a class of the user's, and of those that it is derived from."""
    if is_library(kind.__module__):
        return
    for name, value in list(vars(kind).items()):
        for function in _functions(value):
            yield Slot(name, function, kind, name, FIXED)
        if not name.startswith("__") and not _is_machinery(value):
            yield Slot(name, value, kind, name, ATTRIBUTE)
    for base in kind.__bases__:
        yield part(base)


def _functions(value: Any) -> Iterator[Any]:
    """The functions that an entry of a class is made of."""
    if isinstance(value, FunctionType | _lru_cache_wrapper):
        yield value
    elif isinstance(value, staticmethod | classmethod):
        yield value.__func__
    elif isinstance(value, property):
        yield from (f for f in (value.fget, value.fset) if f is not None)
    elif isinstance(value, cached_property):
        yield value.func


def _is_machinery(value: Any) -> bool:
    return isinstance(value, _MACHINERY) or type(value).__name__ in {
        "getset_descriptor",
        "_abc_data",
    }


def attributes_of(thing: Any) -> dict[str, Any]:
    """What an object keeps in its ``__dict__``, without asking the object."""
    try:
        found = object.__getattribute__(thing, "__dict__")
    except Exception:  # whatever an object of the user's may raise
        return {}
    return found if type(found) is dict else {}


def in_slots(thing: Any) -> dict[str, Any]:
    """What an object keeps in ``__slots__``, by name."""
    found: dict[str, Any] = {}
    for name, place in members[type(thing)]:
        with suppress(AttributeError):  # nothing is there yet
            found[name] = place.__get__(thing)
    return found


def _find_members(kind: type) -> tuple[tuple[str, MemberDescriptorType], ...]:
    """The places of ``__slots__`` in the objects of a type."""
    return tuple(
        (name, place)
        for each in kind.__mro__
        if "__slots__" in vars(each)
        for name, place in vars(each).items()
        if type(place) is MemberDescriptorType
    )


def _items(container: Any) -> Iterator[Slot]:
    if isinstance(container, dict):
        for index, key in enumerate(_ends(container)):
            yield Slot(_name(key, index), dict.get(container, key), container, key, ITEM)
    elif isinstance(container, set | frozenset):
        for index, item in enumerate(_ends(container)):
            yield Slot(str(index), item, container, index, FIXED)
    else:
        access = FIXED if isinstance(container, tuple) else ITEM
        size = len(container)
        shown = range(size) if size <= MANY else (*range(END), *range(size - END, size))
        for index in shown:
            yield Slot(str(index), container[index], container, index, access)


def _ends(container: Any) -> list[Any]:
    """All items of a container, or the first and last where there are many."""
    if len(container) <= MANY:
        return list(container)
    first = list(islice(container, END))
    return [*first, *islice(reversed(container), END)] if isinstance(container, dict) else first


def _name(key: Any, index: int) -> str:
    if type(key) is str:
        return key
    flat = type(key) in PLAIN or (type(key) is tuple and all(type(k) in PLAIN for k in key))
    return repr(key) if flat else f"key_{index}"


@lru_cache(maxsize=4096)
def named(code: CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names that a function looks up as globals and as attributes, those inside it too."""
    names: dict[str, None] = {}
    attributes: dict[str, None] = {}
    for instruction in dis.get_instructions(code):
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"):
            names[instruction.argval] = None
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR"):
            attributes[instruction.argval] = None
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            inner, others = named(constant)
            names |= dict.fromkeys(inner)
            attributes |= dict.fromkeys(others)
    return tuple(names), tuple(attributes)


_FINDERS: tuple[tuple[Any, Callable[[Any], Iterable[Slot]]], ...] = (
    (type, _of_class),
    ((MethodType, BuiltinFunctionType), _of_method),
    (FunctionType, _of_function),
    (partial, _of_partial),
    (_lru_cache_wrapper, _of_cached),
    (ContextVar, _of_context_variable),
)
_finders = ByType(_find_finder)
members = ByType(_find_members)
"""The places of ``__slots__`` in the objects of a type, by name."""
remembered = ByType(_find_remembered)
"""Attributes in which objects of a type note what they found out or computed last: no state."""
