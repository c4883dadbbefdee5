"""Everything that programs reach, each thing once, by its dotted path; and what is there."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any, NamedTuple

from torch import Tensor, nn

from pyro_decomp.programs.program_state.own import (
    TensorMark,
    is_flat,
    is_iterator,
    own,
    parts_of_iterator,
)
from pyro_decomp.programs.program_state.reachable import PLAIN, places
from pyro_decomp.programs.program_state.slots import ABSENT, Slot

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


def around(path: str) -> Iterator[str]:
    """The paths of the things that the thing at a path is in, the outermost first."""
    end = path.find(".")
    while end > 0:
        yield path[:end]
        end = path.find(".", end + 1)


class Fingerprint:
    """What programs keep at one moment, by dotted path, to be compared with another.

    Args:
        nodes: Everything that they reach.
    """

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

        Args:
            other: Of the same programs, at another moment.

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
