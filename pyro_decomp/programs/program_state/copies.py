"""Programs copied with all that they keep, so that what runs move is the copy's own (internal).

``copy.deepcopy`` takes functions for constants: a copy of a model that closes over a network, or
names one as a global, would have the same network. Here a function is made anew around copies of
its closure variables and of the globals that it names.
"""

import copy
import inspect
import pickle
import random
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
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
import pyro
import torch
from pyro.params.param_store import ParamStoreDict
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, is_lazy
from torch.nn.utils import parametrize

from pyro_decomp.errors import ModelError
from pyro_decomp.programs.program_state.fingerprint import (
    BUFFERS,
    is_random_kind,
    set_state_of,
    state_of,
)
from pyro_decomp.programs.program_state.kept_values import memory_of
from pyro_decomp.programs.program_state.reachable import (
    OPEN,
    PLAIN,
    is_library,
    is_open,
    named,
    remembered,
)
from pyro_decomp.programs.program_state.slots import ABSENT, ByType, contents
from pyro_decomp.programs.program_state.walk import ITERATORS, Node, walk

LARGE = 1 << 22  # bytes; the memory of a larger plain tensor or array, such as data, is shared
_COPIED = {"torch", "pyro", "pyro_decomp", "zuko", "functorch"}  # libraries with objects to copy

Copy = Callable[["_Copier", Any], Any]


def copied(roots: Mapping[str, Any], data: Iterable[Tensor] = ()) -> dict[str, Any]:
    """Copies of programs and of all that they reach, what they share being shared by the copies.

    Classes, modules of libraries and what else holds nothing of a program's are not copied, nor are
    data: tensors that look at the memory of ``data``, and others of more than 4 MiB that are no
    network's.

    Args:
        roots: By name: ``model=``, ``guide=``, ``elbo=``.
        data: Whose memory is shared.

    Returns:
        The copies by name.

    Raises:
        ModelError: Something cannot be copied, or a network would still be shared, as one is that
            methods of a class name as a global; the message has its path.
    """
    copier = _Copier(roots, data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of iterators
        copies = {name: copier.copy(root) for name, root in roots.items()}
    if (path := shared_network(walk(roots), walk(copies))) is not None:
        raise _refusal(path, "a class, or what a class names, holds it")
    return copies


def shared_network(some: Iterable[Node], others: Iterable[Node]) -> str | None:
    """The path of a network, or of a tensor that is trained, which is among some and others."""
    paths = {id(node.thing): node.path for node in some if _is_trained(node.thing)}
    found = (paths[id(n.thing)] for n in others if _is_trained(n.thing) and id(n.thing) in paths)
    return next(found, None)


def check_own(
    roots: Mapping[str, Any], copies: Mapping[str, Any], moving: Mapping[str, str]
) -> None:
    """Check that what runs of copies move is theirs alone.

    Args:
        roots: What was copied.
        copies: The copies.
        moving: What their runs move, as :meth:`.ProgramState.moved_by` tells it.

    Raises:
        ModelError: It is in something that is not copied, as an attribute of a class is; the
            message has its path.
    """
    if set(moving.values()) <= {"generator"}:
        return
    nodes = list(walk(roots))
    others = {id(n.thing) for n in nodes} | {id(n.slot.owner) for n in nodes if n.slot is not None}
    for node in walk(copies):
        if node.path not in moving or node.slot is None:
            continue
        holder = node.thing if moving[node.path] == "tensor" else node.slot.owner
        if id(holder) in others:
            raise _refusal(node.path, "every run of the programs changes it, and others share it")


class _Copier:
    """One copying of things that may reach each other."""

    def __init__(self, roots: Mapping[str, Any], data: Iterable[Tensor]) -> None:
        self._roots = roots
        self._memories = {memory_of(tensor) for tensor in data}
        self.memo: dict[int, Any] = {}  # of the form that ``__deepcopy__`` takes
        self._alive: list[Any] = []  # or an address could be given to another
        self.modules: dict[int, ModuleType] = {}  # copies of the user's, by their variables
        self._named: set[tuple[int, str]] = set()
        globals_: list[Any] = [random._inst, np.random.mtrand._rand]
        for each in (*globals_, torch.default_generator, pyro.get_param_store()):
            self.memo[id(each)] = each

    def copy(self, thing: Any) -> Any:
        """The copy of a thing, one for each."""
        if type(thing) in PLAIN or isinstance(thing, type):
            return thing
        found = self.memo.get(id(thing), ABSENT)
        return found if found is not ABSENT else self.keep(thing, _copies[type(thing)](self, thing))

    def keep(self, thing: Any, made: Any) -> Any:
        """Note the copy of a thing, so that what it is in has this one."""
        self.memo[id(thing)] = made
        self._alive.append(thing)
        return made

    def is_of_data(self, tensor: Tensor) -> bool:
        """Whether a tensor looks at the memory of data."""
        return memory_of(tensor) in self._memories

    def is_shared(self, tensor: Tensor) -> bool:
        """Whether a tensor is left as it is."""
        if isinstance(tensor, nn.Parameter) or tensor.requires_grad:
            return not tensor.is_leaf  # which its graph makes again
        is_large = tensor.layout == torch.strided and tensor.untyped_storage().nbytes() >= LARGE
        return is_large or self.is_of_data(tensor)

    def variables(self, variables: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        """The copy of a Python module's variables, in which what has some names is copied."""
        if id(variables) not in self.modules:
            self.modules[id(variables)] = ModuleType(str(variables.get("__name__")))
            vars(self.modules[id(variables)]).update(variables)
            self._alive.append(variables)
        copies = vars(self.modules[id(variables)])
        for name in names:
            if name in variables and (id(variables), name) not in self._named:
                self._named.add((id(variables), name))
                copies[name] = self.copy(variables[name])
        return copies

    def refusal(self, thing: Any, why: object) -> ModelError:
        """An error that names a thing by its path."""
        paths = (node.path for node in walk(self._roots) if node.thing is thing)
        return _refusal(next(paths, f"a {type(thing).__name__}"), why)


def _refusal(path: str, why: object) -> ModelError:
    return ModelError(
        f"{path}: expected something that the run can have a copy of, as training leaves what it "
        f"is given as it was, got what cannot be copied: {why} (make it an attribute of a network "
        "or object, or give train a function that makes it and returns the experiment)"
    )


def _is_trained(thing: Any) -> bool:
    if isinstance(thing, nn.Module):
        return any(True for _ in (*thing.parameters(), *thing.buffers()))
    return isinstance(thing, Tensor) and thing.is_leaf and thing.requires_grad


def _same(copier: _Copier, thing: Any) -> Any:
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


def _random(copier: _Copier, generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        fresh: Any = torch.Generator(generator.device)
        set_state_of(fresh, state_of(generator))
        return fresh
    return copy.deepcopy(generator)


def _tensor(copier: _Copier, tensor: Tensor) -> Tensor:
    if isinstance(tensor, UninitializedBuffer):
        like = {"device": tensor.data.device, "dtype": tensor.data.dtype}
        return UninitializedBuffer(**like)  # type: ignore[arg-type]
    if not is_lazy(tensor) and copier.is_shared(tensor):
        return tensor
    return tensor.__deepcopy__(copier.memo)


def _array(copier: _Copier, array: "np.ndarray[Any, Any]") -> Any:
    return array if array.nbytes >= LARGE else copy.deepcopy(array, copier.memo)


def _by_itself(copier: _Copier, thing: Any) -> Any:
    try:
        return thing.__deepcopy__(copier.memo)
    except (TypeError, RuntimeError) as error:
        raise copier.refusal(thing, error) from error


def _list(copier: _Copier, thing: list[Any]) -> list[Any]:
    made = copier.keep(thing, [])
    made.extend(map(copier.copy, thing))
    return made


def _tuple(copier: _Copier, thing: tuple[Any, ...]) -> Any:
    items = tuple(map(copier.copy, thing))
    is_same = all(a is b for a, b in zip(items, thing, strict=True))
    return copier.memo.get(id(thing), thing if is_same else items)


def _dict(copier: _Copier, thing: dict[Any, Any]) -> dict[Any, Any]:
    made = copier.keep(thing, {})
    made.update((copier.copy(key), copier.copy(value)) for key, value in thing.items())
    return made


def _object(copier: _Copier, thing: Any) -> Any:
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


def _network(copier: _Copier, network: nn.Module) -> nn.Module:
    """Copy a network by its attributes: what it would be pickled as may lack some."""
    made = copier.keep(network, type(network).__new__(type(network)))
    for each in network._buffers.values():  # to any of which it may write
        if each is not None and not is_lazy(each) and not copier.is_of_data(each):
            copier.keep(each, each.__deepcopy__(copier.memo))
    vars(made).update((name, copier.copy(value)) for name, value in vars(network).items())
    return made


def _set_state(copier: _Copier, thing: Any, made: Any, state: Any) -> None:
    if found_out := remembered[type(thing)]:
        shared = {n: v for n, v in state.items() if n in found_out}
        copies = copier.copy({n: v for n, v in state.items() if n not in found_out}) | shared
    else:
        copies = copier.copy(state)
    if hasattr(made, "__setstate__"):
        made.__setstate__(copies)
        return
    attributes, in_slots = copies if isinstance(copies, tuple) else (copies, None)
    vars(made).update(attributes) if attributes else None
    for name, value in (in_slots or {}).items():
        object.__setattr__(made, name, value)


def _partial(copier: _Copier, thing: "partial[Any]") -> Any:
    if type(thing) is not partial:
        return _object(copier, thing)
    function, args = copier.copy(thing.func), map(copier.copy, thing.args)
    return partial(function, *args, **copier.copy(thing.keywords))


def _method(copier: _Copier, method: Any) -> Any:
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


def _cached(copier: _Copier, thing: Any) -> Any:
    """A function that remembers its results, which has to compute them again."""
    if any(_is_trained(node.thing) for node in walk({"": thing}) if ".cached_" in node.path):
        raise copier.refusal(thing, "a cached function holds a network")
    if is_library(thing.__module__):
        return thing
    return lru_cache(**thing.cache_parameters())(copier.copy(thing.__wrapped__))


def _weak(copier: _Copier, reference: "weakref.ref[Any]") -> Any:
    thing = reference()
    return reference if thing is None else weakref.ref(copier.copy(thing))


def _function(copier: _Copier, function: FunctionType) -> FunctionType:
    """A function of the same code around copies of what it closes over and names."""
    if is_library(function.__module__) and "<locals>" not in function.__qualname__:
        return function
    variables, names = function.__globals__, list[str]()
    if not is_library(variables.get("__name__")):
        known = {n: variables[n] for n in named(function.__code__)[0] if n in variables}
        names = [n for n, v in known.items() if not isinstance(v, type | BuiltinFunctionType)]
    closure = function.__closure__ or ()
    if not (names or closure or function.__defaults__ or vars(function)):
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


def _copy_named_in_modules(copier: _Copier, function: FunctionType, names: Iterable[str]) -> None:
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
_copies = ByType(_find)
_copies |= {list: _list, tuple: _tuple, dict: _dict}
