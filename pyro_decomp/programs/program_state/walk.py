"""Everything that programs reach, each thing once, by its dotted path."""

from collections import deque
from collections.abc import Iterator, Mapping, Set
from typing import Any, NamedTuple

from torch import nn

from pyro_decomp.programs.program_state.own import is_flat, is_iterator, parts_of_iterator
from pyro_decomp.programs.reachable import PLAIN, Slot, places

MOST = 50_000  # things; programs that reach more are looked at as far as this


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

    Args:
        roots: By name.
        networks: Identities of networks whose parameters and buffers are left out.
        tensors: Identities of tensors that are left out.
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
