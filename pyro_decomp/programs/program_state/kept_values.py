"""Plain values and containers in a checkpoint, and back in the places that they came from."""

import array
import itertools
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_decomp.programs.program_state.fingerprint import (
    BUFFERS,
    is_random,
    set_state_of,
    state_of,
)
from pyro_decomp.programs.program_state.reachable import PLAIN, attributes_of, named
from pyro_decomp.programs.program_state.walk import Node, is_iterator


class UnkeptError(Exception):
    """Raised for a thing that is more than a value, so that no checkpoint can keep it."""


_SEQUENCES: dict[str, type] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_DICTS: dict[str, type] = {"dict": dict, "ordered": OrderedDict, "counter": Counter}
_NAMES = {kind: name for name, kind in (*_SEQUENCES.items(), *_DICTS.items())}


def encoded(thing: Any) -> Any:
    """Encode a thing in types that load without unpickling: plain, or a list begun by a word.

    Raises:
        UnkeptError: It is more than a value, or holds what is.
    """
    kind = type(thing)
    if kind in PLAIN:
        return ["complex", thing.real, thing.imag] if kind is complex else thing
    if kind in _NAMES or kind in (deque, defaultdict):
        return _encoded_container(thing)
    if isinstance(thing, Tensor):
        return ["tensor", thing.detach().cpu().clone()]
    if isinstance(thing, (np.ndarray, np.generic, *BUFFERS)):
        return _encoded_array(thing)
    if is_random(thing):
        return ["random", encoded(state_of(thing))]
    return _encoded_iterator(thing)


def _encoded_iterator(thing: Any) -> Any:
    """Encode where an iterator stands, if it goes through what was there at the beginning."""
    if type(thing) is itertools.count:
        return ["count", [encoded(part) for part in thing.__reduce__()[1]]]
    if not is_iterator(thing) or not hasattr(thing, "__setstate__"):
        raise UnkeptError
    _, _, *position = thing.__reduce__()
    if not position or type(position[0]) is not int:  # it came to its end
        raise UnkeptError
    return ["position", position[0]]


def _encoded_container(thing: Any) -> Any:
    kind = type(thing)
    if isinstance(thing, dict):
        pairs = [[encoded(key), encoded(value)] for key, value in thing.items()]
        return [_NAMES.get(kind, "defaultdict"), pairs]
    items = [encoded(item) for item in thing]
    return ["deque", items, thing.maxlen] if kind is deque else [_NAMES[kind], items]


def _encoded_array(array: Any) -> Any:
    if isinstance(array, BUFFERS):
        return ["buffer", getattr(array, "typecode", ""), bytes(array)]
    if array.dtype.hasobject:
        raise UnkeptError
    memory = torch.frombuffer(bytearray(array.tobytes()), dtype=torch.uint8) if array.size else None
    word = "array" if isinstance(array, np.ndarray) else "number"
    return [word, array.dtype.str, list(array.shape), memory]


def decoded(value: Any) -> Any:
    """Decode what :func:`encoded` gave; a generator of random numbers is given as its state."""
    if not isinstance(value, list):
        return value
    word, *rest = value
    return _DECODERS[word](*rest)


def _decoded_array(dtype: str, shape: list[int], memory: Tensor | None) -> Any:
    raw = b"" if memory is None else memory.numpy().tobytes()
    return np.frombuffer(raw, dtype).reshape(shape).copy()


def _decoded_items(kind: type, items: list[Any]) -> Any:
    return kind(map(decoded, items))


def _decoded_dict(kind: type, pairs: list[Any]) -> Any:
    return kind({decoded(key): decoded(value) for key, value in pairs})


_DECODERS: dict[str, Callable[..., Any]] = {
    **{word: partial(_decoded_items, kind) for word, kind in _SEQUENCES.items()},
    **{word: partial(_decoded_dict, kind) for word, kind in _DICTS.items()},
    "defaultdict": partial(_decoded_dict, dict),
    "deque": lambda items, most: deque(map(decoded, items), most),
    "array": _decoded_array,
    "buffer": lambda code, raw: array.array(code, raw) if code else bytearray(raw),
    "number": lambda *parts: _decoded_array(*parts)[()],
    "complex": complex,
    "count": lambda parts: itertools.count(*map(decoded, parts)),
    "position": decoded,
    "random": decoded,
    "tensor": lambda tensor: tensor,
}


def put(nodes: Mapping[str, Node], path: str, value: Any, carried: Set[int] = frozenset()) -> bool:
    """Put a value back at its path, and tell whether there is such a place.

    Args:
        nodes: What programs reach, by path.
        path: Where.
        value: As :func:`encoded` gave it.
        carried: Memory (:func:`memory_of`) that is carried elsewhere: a tensor that lies in it, as
            ``weight.data`` does, is not written to, and another takes its place.
    """
    node, found = nodes.get(path), decoded(value)
    if node is None:
        return _put_anew(nodes, path, found)
    thing = node.thing
    if isinstance(value, list) and value[0] == "random":
        if is_random(thing):
            set_state_of(thing, found)
        return is_random(thing)
    if isinstance(value, list) and value[0] == "position":
        if is_iterator(thing) and hasattr(thing, "__setstate__"):
            thing.__setstate__(found)
        return is_iterator(thing)
    is_carried = isinstance(thing, Tensor) and memory_of(thing) in carried
    if not is_carried and _refilled(thing, found):
        return True
    if isinstance(found, Tensor) and isinstance(thing, Tensor):
        found = found.to(thing.device)
    return _put_in(nodes, path, found)


def memory_of(tensor: Tensor) -> int:
    """The memory that a tensor lies in, as a number: views of one another have the same."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # of a layout without
        return id(tensor)


def _put_in(nodes: Mapping[str, Node], path: str, found: Any) -> bool:
    """Put a thing in a place that there is; for an item of a tuple, another tuple in its place."""
    node = nodes.get(path)
    if node is None or node.slot is None:
        return False
    if node.slot.set is not None:
        node.slot.set(found)
        return True
    whole, (start, _, _) = node.slot.owner, path.rpartition(".")
    if not isinstance(whole, tuple) or start not in nodes or nodes[start].thing is not whole:
        return False
    items = [found if i == node.slot.key else item for i, item in enumerate(whole)]
    return _put_in(nodes, start, getattr(type(whole), "_make", type(whole))(items))


def _refilled(thing: Any, found: Any) -> bool:
    """Whether what is there could be given this content in place."""
    if isinstance(thing, Tensor) and isinstance(found, Tensor):
        if thing.shape != found.shape or thing.dtype != found.dtype:
            return False
        thing.data.copy_(found)
    elif isinstance(thing, np.ndarray) and isinstance(found, np.ndarray):
        if thing.shape != found.shape or thing.dtype != found.dtype or not thing.flags.writeable:
            return False
        thing[...] = found
    elif any(isinstance(thing, k) and isinstance(found, k) for k in (list, *BUFFERS)):
        thing[:] = found
    elif isinstance(thing, deque) and isinstance(found, deque):
        thing.clear()
        thing.extend(found)
    elif isinstance(thing, set) and isinstance(found, set):
        thing.clear()
        thing |= found
    elif isinstance(thing, dict) and isinstance(found, dict):
        thing.clear()
        for key, item in found.items():
            thing[key] = item
    else:
        return False
    return True


def _put_anew(nodes: Mapping[str, Node], path: str, found: Any) -> bool:
    """Put a value where nothing is yet: an attribute, a key or a global that a run makes."""
    start, _, name = path.rpartition(".")
    node = nodes.get(start)
    if node is None:
        return False
    thing = node.thing
    if isinstance(thing, dict):
        thing[name] = found
        return True
    function = getattr(thing, "__func__", thing)
    if hasattr(function, "__code__") and name in named(function.__code__)[0]:
        function.__globals__[name] = found
        return True
    owner = getattr(thing, "__self__", thing)
    if owner is not thing or attributes_of(thing) or hasattr(type(thing), "__dict__"):
        try:
            setattr(owner, name, found)
        except (AttributeError, TypeError):
            return False
        return True
    return False
