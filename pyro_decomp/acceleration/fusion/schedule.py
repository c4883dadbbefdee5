"""What is kept in memory, and which loops compute it.

A *root* is a value that is kept. Roots whose loops run over the same numbers of places, and that
need nothing of one another but what is at the same place, are computed in one loop nest. What is
no root is computed again wherever it is needed.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pyro_decomp.acceleration.fusion.loops import extents_of, places_of, terms_of
from pyro_decomp.acceleration.fusion.roots import roots_of, strides_of
from pyro_decomp.acceleration.fusion.values import (
    Call,
    Index,
    Product,
    Reader,
    Result,
    Shape,
    Value,
)


@dataclass(eq=False)
class Nest:
    """Loops in which some roots are computed.

    Attributes:
        extents: Of the loops, the outermost first.
        roots: In an order in which they can be computed.
    """

    extents: Shape
    roots: list[Value] = field(default_factory=list)


Step = Nest | Product | Call


@dataclass(frozen=True)
class Schedule:
    """A program.

    Attributes:
        steps: In their order.
        strides: Of the memory of every root.
    """

    steps: Sequence[Step]
    strides: dict[Value, Shape]


def scheduled(outputs: Sequence[Value]) -> Schedule:
    """Decide how to compute some values; these come out contiguous."""
    order = _in_order(outputs)
    roots, row = roots_of(order, outputs)
    strides = {root: strides_of(root, row) for root in roots}
    return Schedule(_steps(order, roots), strides)


def _in_order(outputs: Sequence[Value]) -> list[Value]:
    """All values, each after its operands."""
    found: dict[Value, None] = {}
    waiting: list[tuple[Value, bool]] = [(value, False) for value in reversed(outputs)]
    while waiting:
        value, is_ready = waiting.pop()
        if value in found:
            continue
        if is_ready:
            found[value] = None
            continue
        waiting.append((value, True))
        waiting += [(operand, False) for operand in reversed(value.operands)]
    return list(found)


def _steps(order: Sequence[Value], roots: set[Value]) -> list[Step]:
    """Roots in loops, as few as their needs allow."""
    level: dict[Value, int] = {}
    nests: dict[tuple[int, Shape], Nest] = {}
    steps: dict[int, list[Step]] = defaultdict(list)
    for value in order:
        if value not in roots:
            continue
        if isinstance(value, Result):
            level[value] = level[value.call]
            continue
        if isinstance(value, Product | Call):
            needed = [level[root] + 1 for root in _behind(value.operands, roots)]
            level[value] = max(needed, default=0)
            steps[level[value]].append(value)
            continue
        extents = extents_of(value)
        needed = [0]
        for root, index in _read(value, roots):
            is_beside = (
                not isinstance(root, Product | Call | Result)
                and terms_of(root)[0] is root
                and extents_of(root) == extents
                and index in places_of(root)
            )
            needed.append(level[root] + (0 if is_beside else 1))
        level[value] = max(needed)
        key = level[value], extents
        if key not in nests:
            nests[key] = Nest(extents)
            steps[level[value]].append(nests[key])
        nests[key].roots.append(value)
    return [step for number in sorted(steps) for step in steps[number]]


def _behind(values: Sequence[Value], roots: set[Value]) -> Iterator[Value]:
    """The roots from which values are computed without others between."""
    waiting, seen = list(values), set(values)
    while waiting:
        value = waiting.pop()
        if value in roots:
            yield value
            continue
        waiting += [operand for operand in value.operands if operand not in seen]
        seen.update(value.operands)


def _read(root: Value, roots: set[Value]) -> set[tuple[Value, Index]]:
    """What the loops of a root read of other roots, and where."""
    recorder = Recorder(root, roots)
    for place in places_of(root):
        recorder.start(place)
    return recorder.found


class Recorder(Reader):
    """Goes through the expression of a root without writing it."""

    def __init__(self, root: Value, roots: set[Value]) -> None:
        self.found: set[tuple[Value, Index]] = set()
        self._root = root
        self._roots = roots
        self._names: dict[tuple[Value, Index], str] = {}

    def start(self, place: Index) -> None:
        """Go through one term of the root."""
        terms, added = terms_of(self._root)
        if added:
            self.of(terms, place)
        else:
            self._root.at(place, self)

    def of(self, value: Value, index: Index) -> str:
        """See :class:`Reader`."""
        if value in self._roots:
            self.found.add((value, index))
        key = value, index
        if key not in self._names:
            self._names[key] = f"x{len(self._names)}"
            if value not in self._roots:
                value.at(index, self)
        return self._names[key]
