"""Everything that programs reach, each thing once, by its dotted path (internal)."""

import itertools
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

from torch import nn

from pyro_decomp.programs.program_state.reachable import PLAIN, places
from pyro_decomp.programs.program_state.slots import MANY, Slot

MOST = 50_000  # things; programs that reach more are looked at as far as this
CONTAINERS = (list, tuple, deque, set, frozenset, dict)
_EMPTY: list[Any] = [[], (), {}, set(), "", "é", b"", range(1), range(1 << 70), deque()]
_EMPTY += [{}.values(), {}.items()]
_REVERSIBLE: list[Any] = [[], (), {}, range(1), deque()]
ITERATORS = frozenset(
    {
        *(type(iter(each)) for each in _EMPTY),
        *(type(reversed(each)) for each in _REVERSIBLE),
        *(enumerate, zip, map, filter, type(iter(int, 1))),
        *(each for each in vars(itertools).values() if isinstance(each, type)),
    }
)


class Node(NamedTuple):
    """A thing that programs reach.

    Attributes:
        path: Dotted, from a root, such as ``model.prior.calls``.
        thing: What is there.
        slot: The place that it was found in; None for a root and for a part of an iterator.
        is_part: It stands for what has the same path, as the owner of a bound method does.
    """

    path: str
    thing: Any
    slot: Slot | None
    is_part: bool


def walk(
    roots: Mapping[str, Any], networks: Set[int] = frozenset(), tensors: Set[int] = frozenset()
) -> Iterator[Node]:
    """Everything that is reached from some roots, what is near first.

    A plain value and an iterator come at every path that they have, any other thing once.
    """
    waiting: deque[Node] = deque(Node(name, root, None, False) for name, root in roots.items())
    seen: set[int] = set(tensors)
    alive: list[Any] = []  # or an address could be given to another
    taken: set[str] = set()
    while waiting and len(alive) < MOST:
        node = waiting.popleft()
        thing = node.thing
        is_plain, is_new = type(thing) in PLAIN, id(thing) not in seen
        if not is_plain and not is_new and not is_iterator(thing):
            continue
        if not node.is_part:
            if node.path in taken:
                node = node._replace(path=_free(node.path, taken))
            taken.add(node.path)
        yield node
        if is_plain or not is_new:
            continue
        seen.add(id(thing))
        alive.append(thing)
        if not is_flat(thing):
            waiting.extend(_children(thing, node.path, networks))


def _children(thing: Any, path: str, networks: Set[int]) -> Iterator[Node]:
    if is_iterator(thing):
        yield from (Node(path, part, None, True) for part in parts_of_iterator(thing))
        return
    left_out: tuple[Any, Any] | None = None
    if id(thing) in networks and isinstance(thing, nn.Module):
        left_out = (thing._parameters, thing._buffers)
    for slot in places(thing):
        if left_out and (slot.owner is left_out[0] or slot.owner is left_out[1]):
            continue
        yield Node(f"{path}.{slot.name}" if slot.name else path, slot.value, slot, not slot.name)


def _free(path: str, taken: set[str]) -> str:
    number = 2
    while f"{path}~{number}" in taken:
        number += 1
    return f"{path}~{number}"


def around(path: str) -> Iterator[str]:
    """The paths of the things that the thing at a path is in, the outermost first."""
    end = path.find(".")
    while end > 0:
        yield path[:end]
        end = path.find(".", end + 1)


def is_flat(thing: Any) -> bool:
    """Whether a container holds plain values alone, so that they are compared as one."""
    if not isinstance(thing, CONTAINERS) or len(thing) > MANY or not _is_bare(type(thing)):
        return False
    items = thing.values() if isinstance(thing, dict) else thing
    return all(type(item) in PLAIN for item in items)


def is_iterator(thing: Any) -> bool:
    """Whether a thing is one of Python's own iterators, which tell where they stand."""
    return type(thing) in ITERATORS


def parts_of_iterator(iterator: Any) -> list[Any]:
    """What an iterator goes through, and other things that it keeps."""
    if type(iterator) is itertools.cycle:  # which is replaced as a whole, and has what it keeps
        return []
    return [part for part in reduced(iterator) if type(part) not in PLAIN]


def _is_bare(kind: type) -> bool:
    """Whether a container has nothing beside its items."""
    return kind.__module__ in {"builtins", "collections"}


def reduced(iterator: Any) -> list[Any]:
    """What an iterator would be pickled as, without advancing it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            _, *rest = iterator.__reduce__()
        except TypeError:
            return [repr(iterator)]
    return [part for each in rest for part in (each if isinstance(each, tuple) else [each])]
