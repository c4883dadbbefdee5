"""How things of each type are copied (internal)."""

import copy
import inspect
import pickle
import weakref
from collections.abc import Iterable
from enum import Enum
from functools import WRAPPER_ASSIGNMENTS, _lru_cache_wrapper, lru_cache, partial
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np
import torch
from pyro.params.param_store import ParamStoreDict
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, is_lazy
from torch.nn.utils import parametrize

from pyro_decomp.programs.program_state.copier import LARGE, Copier, Copy, is_trained
from pyro_decomp.programs.program_state.fingerprint import (
    BUFFERS,
    is_random_kind,
    set_state_of,
    state_of,
)
from pyro_decomp.programs.program_state.reachable import (
    OPEN,
    is_library,
    is_open,
    named,
    remembered,
)
from pyro_decomp.programs.program_state.slots import ABSENT, ByType, contents
from pyro_decomp.programs.program_state.walk import ITERATORS, walk

_COPIED = {"torch", "pyro", "pyro_decomp", "zuko", "functorch"}  # libraries with objects to copy


def _same(copier: Copier, thing: Any) -> Any:
    return thing


def _find(kind: type) -> Copy:
    """How things of a type are copied."""
    if is_random_kind(kind):
        return _random
    if kind in ITERATORS:
        return _object
    for types, way in _BY_TYPE:
        if issubclass(kind, types):
            return way
    if issubclass(kind, nn.Module) and not _copies_itself(kind):
        return _network
    is_memory = getattr(kind, "_is_memory_of_programs", False)
    if is_memory or not is_open(kind) or _is_constant(kind):
        return _same
    return _by_itself if _copies_itself(kind) else _object


def _copies_itself(kind: type) -> bool:
    """Whether a class says how its objects are copied; torch does for parametrized networks."""
    how = getattr(kind, "__deepcopy__", None)
    return how is not None and how.__module__ != parametrize.__name__


def _is_constant(kind: type) -> bool:
    """Whether objects of a library's class hold nothing of a program's."""
    if kind.__module__ in OPEN:
        return kind is object
    return is_library(kind.__module__) and kind.__module__.partition(".")[0] not in _COPIED


def _random(copier: Copier, generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        fresh: Any = torch.Generator(generator.device)
        set_state_of(fresh, state_of(generator))
        return fresh
    return copy.deepcopy(generator)


def _tensor(copier: Copier, tensor: Tensor) -> Tensor:
    if isinstance(tensor, UninitializedBuffer):
        like = {"device": tensor.data.device, "dtype": tensor.data.dtype}
        return UninitializedBuffer(**like)  # type: ignore[arg-type]
    if not is_lazy(tensor) and copier.is_shared(tensor):
        return tensor
    return tensor.__deepcopy__(copier.memo)


def _array(copier: Copier, array: "np.ndarray[Any, Any]") -> Any:
    return array if array.nbytes >= LARGE else copy.deepcopy(array, copier.memo)


def _by_itself(copier: Copier, thing: Any) -> Any:
    try:
        made = thing.__deepcopy__(copier.memo)
    except (TypeError, RuntimeError) as error:
        raise copier.refusal(thing, error) from error
    if isinstance(made, nn.Module) and not all(each.is_leaf for each in made.parameters()):
        raise copier.refusal(thing, "copies of a scripted network have no weights of their own")
    return made


def _list(copier: Copier, thing: list[Any]) -> list[Any]:
    made = copier.keep(thing, [])
    made.extend(map(copier.copy, thing))
    return made


def _tuple(copier: Copier, thing: tuple[Any, ...]) -> Any:
    items = tuple(map(copier.copy, thing))
    is_same = all(a is b for a, b in zip(items, thing, strict=True))
    return copier.memo.get(id(thing), thing if is_same else items)


def _dict(copier: Copier, thing: dict[Any, Any]) -> dict[Any, Any]:
    made = copier.keep(thing, {})
    made.update((copier.copy(key), copier.copy(value)) for key, value in thing.items())
    return made


def _object(copier: Copier, thing: Any) -> Any:
    """Copy an object as ``copy.deepcopy`` does, by what it would be pickled as."""
    try:
        reduced = thing.__reduce_ex__(4)
    except (TypeError, RuntimeError, pickle.PicklingError) as error:
        raise copier.refusal(thing, error) from error
    if isinstance(reduced, str):
        return thing
    parts: list[Any] = [*reduced, None, None, None]
    make, args, state, items, pairs = parts[:5]
    made = copier.keep(thing, make(*map(copier.copy, args)))
    if state is not None:
        _set_state(copier, thing, made, state)
    for item in items or ():
        made.append(copier.copy(item))
    for key, value in pairs or ():
        made[copier.copy(key)] = copier.copy(value)
    return made


def _network(copier: Copier, network: nn.Module) -> nn.Module:
    """Copy a network by its attributes: what it would be pickled as may lack some."""
    made = copier.keep(network, type(network).__new__(type(network)))
    for each in network._buffers.values():  # to any of which it may write
        if each is not None and not is_lazy(each) and not copier.is_of_data(each):
            copier.keep(each, each.__deepcopy__(copier.memo))
    vars(made).update((name, copier.copy(value)) for name, value in vars(network).items())
    return made


def _set_state(copier: Copier, thing: Any, made: Any, state: Any) -> None:
    if found_out := remembered[type(thing)]:
        shared = {n: v for n, v in state.items() if n in found_out}
        copies = copier.copy({n: v for n, v in state.items() if n not in found_out}) | shared
    else:
        copies = copier.copy(state)
    if hasattr(type(made), "__setstate__"):  # an object that is not made yet may not be asked
        made.__setstate__(copies)
        return
    attributes, in_slots = copies if isinstance(copies, tuple) else (copies, None)
    vars(made).update(attributes) if attributes else None
    for name, value in (in_slots or {}).items():
        object.__setattr__(made, name, value)


def _partial(copier: Copier, thing: "partial[Any]") -> Any:
    if type(thing) is not partial:
        return _object(copier, thing)
    function, args = copier.copy(thing.func), map(copier.copy, thing.args)
    return partial(function, *args, **copier.copy(thing.keywords))


def _method(copier: Copier, method: Any) -> Any:
    """A bound method: that of its owner's copy, whose class is the same."""
    if method.__self__ is None or isinstance(method.__self__, ModuleType):
        return method
    owner = copier.copy(method.__self__)
    if owner is method.__self__:
        return method
    if isinstance(method, BuiltinFunctionType):
        return getattr(owner, method.__name__)
    of_class = inspect.getattr_static(type(owner), method.__name__, None)
    is_own = of_class is method.__func__
    return MethodType(method.__func__ if is_own else copier.copy(method.__func__), owner)


def _cached(copier: Copier, thing: Any) -> Any:
    """A function that remembers its results, which has to compute them again."""
    if any(is_trained(node.thing) for node in walk({"": thing}) if ".cached_" in node.path):
        raise copier.refusal(thing, "a cached function holds a network")
    if is_library(thing.__module__):
        return thing
    return lru_cache(**thing.cache_parameters())(copier.copy(thing.__wrapped__))


def _weak(copier: Copier, reference: "weakref.ref[Any]") -> Any:
    thing = reference()
    return reference if thing is None else weakref.ref(copier.copy(thing))


def _function(copier: Copier, function: FunctionType) -> FunctionType:
    """A function of the same code around copies of what it closes over and names."""
    if is_library(function.__module__) and "<locals>" not in function.__qualname__:
        return function
    variables, names = function.__globals__, list[str]()
    if not is_library(variables.get("__name__")):
        known = {n: variables[n] for n in named(function.__code__)[0] if n in variables}
        names = [n for n, v in known.items() if not isinstance(v, type | BuiltinFunctionType)]
    closure = function.__closure__ or ()
    defaults = (function.__defaults__, function.__kwdefaults__)
    if not (names or closure or any(defaults) or vars(function)):
        return function
    fresh = [cell for cell in closure if id(cell) not in copier.memo]
    cells = [copier.memo.get(id(c)) or copier.keep(c, CellType()) for c in closure]
    own = copier.variables(variables, ()) if names else variables
    made = FunctionType(function.__code__, own, function.__name__, None, tuple(cells))
    copier.keep(function, made)
    for cell in fresh:
        if (value := contents(cell)) is not ABSENT:
            copier.memo[id(cell)].cell_contents = copier.copy(value)
    if names:
        copier.variables(variables, names)
        _copy_named_in_modules(copier, function, names)
    made.__defaults__ = copier.copy(function.__defaults__)
    made.__kwdefaults__ = copier.copy(function.__kwdefaults__)
    for name in WRAPPER_ASSIGNMENTS:
        setattr(made, name, getattr(function, name))
    vars(made).update(copier.copy(vars(function)))
    return made


def _copy_named_in_modules(copier: Copier, function: FunctionType, names: Iterable[str]) -> None:
    """Have a function find copies in the user's Python modules that it names."""
    own = copier.memo[id(function)].__globals__
    for name in names:
        module = function.__globals__[name]
        if type(module) is ModuleType and not is_library(module.__name__):
            copier.variables(vars(module), named(function.__code__)[1])
            own[name] = copier.modules[id(vars(module))]


_BY_TYPE: list[tuple[Any, Copy]] = [
    ((ModuleType, CodeType, property, MappingProxyType, Enum), _same),
    (Tensor, _tensor),
    (np.ndarray, _array),
    (BUFFERS, lambda _, buffer: copy.copy(buffer)),
    (FunctionType, _function),
    ((MethodType, BuiltinFunctionType), _method),
    (partial, _partial),
    (_lru_cache_wrapper, _cached),
    (weakref.ref, _weak),
    (ParamStoreDict, _object),
]
ways = ByType(_find)
"""How things of a type are copied."""
ways |= {list: _list, tuple: _tuple, dict: _dict}
