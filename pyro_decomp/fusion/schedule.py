"""What is kept in memory, and which loops compute it.

A *root* is a value that is kept. Roots whose loops run over the same numbers of places, and that
need nothing of one another but what is at the same place, are computed in one loop nest. What is
no root is computed again wherever it is needed.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from pyro_decomp.fusion.values import (
    MOST_UNROLLED,
    Call,
    Index,
    Pointwise,
    Product,
    Reader,
    Reduction,
    Result,
    Shape,
    Stored,
    Value,
    View,
    contiguous,
)

KEPT_IF_SHARED = 8  # cost from which on a value is not computed twice
KEPT_IF_REPEATED = 3  # the same for one that is needed at many places of what needs it
MOST_INLINED = 300  # cost of one expression


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
    roots, row = _roots(order, outputs)
    strides = {root: _strides(root, row) for root in roots}
    return Schedule(_steps(order, roots), strides)


def terms_of(root: Value) -> tuple[Value, frozenset[int]]:
    """The value whose numbers a root's loops go through, and which dimensions are added up."""
    if isinstance(root, Reduction) and not root.is_unrolled:
        return root.base, frozenset(root.dims)
    return root, frozenset()


def loops_of(root: Value) -> tuple[list[int], list[int], list[int]]:
    """Dimensions of a root's terms: those of its outer loops, of its inner, and unrolled ones.

    Inner loops add up what the outer ones keep. The longest dimension is innermost of its kind.
    """
    terms, added = terms_of(root)
    unrolled: list[int] = []
    times = 1
    for dim in sorted(range(len(terms.shape)), key=lambda dim: terms.shape[dim]):
        if times * terms.shape[dim] > MOST_UNROLLED:
            break
        unrolled.append(dim)
        times *= terms.shape[dim]
    rest = [dim for dim in range(len(terms.shape)) if dim not in unrolled]
    rest.sort(key=lambda dim: (terms.shape[dim], -dim))
    return [d for d in rest if d not in added], [d for d in rest if d in added], unrolled


def places_of(root: Value) -> list[Index]:
    """The indices of a root's terms at one place of its loops ``i0``, ``i1``..."""
    outer, inner, unrolled = loops_of(root)
    names = {dim: f"i{depth}" for depth, dim in enumerate([*outer, *inner])}
    places: list[Index] = [()]
    for dim, extent in enumerate(terms_of(root)[0].shape):
        along = list(map(str, range(extent))) if dim in unrolled else [names[dim]]
        places = [(*place, each) for place in places for each in along]
    return places


def extents_of(root: Value) -> Shape:
    """How many places each of a root's loops has, the outermost first."""
    outer, inner, _ = loops_of(root)
    terms, _ = terms_of(root)
    return tuple(terms.shape[dim] for dim in (*outer, *inner))


def strided(value: Value, strides: dict[Value, Shape]) -> tuple[Value, int, Shape] | None:
    """The root or input that a value views, where its first number is, and its strides.

    Args:
        value: What is asked for.
        strides: Of the memory of roots.

    Returns:
        None if its numbers are not at constant distances, or not in memory.
    """
    names = tuple(f"v{dim}" for dim in range(len(value.shape)))
    base, index = _base(value, names, strides)
    steps = base.strides if isinstance(base, Stored) else strides.get(base)
    if steps is None:
        return None
    by_name = dict.fromkeys(names, 0)
    first = 0
    for place, step in zip(index, steps, strict=True):
        if place.isdigit():
            first += int(place) * step
        elif place in by_name:
            by_name[place] += step
        else:
            return None
    return base, first, tuple(by_name[name] for name in names)


def _base(value: Value, index: Index, roots: Collection[Value] = ()) -> tuple[Value, Index]:
    """What a value is a view of, and the index into it."""
    while isinstance(value, View) and not value.given and value not in roots:
        index = value.place(index, _NoReader())
        value = value.base
    return value, index


class _NoReader(Reader):
    """For views that ask for no numbers."""

    def of(self, value: Value, index: Index) -> str:
        raise AssertionError("a view without given values read one")


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


def _roots(order: Sequence[Value], outputs: Sequence[Value]) -> tuple[set[Value], set[Value]]:
    """What is kept in memory, and what of it contiguously."""
    row = set(outputs)
    for call in order:
        if isinstance(call, Call):
            row.update(call.results)
            row.update(argument for argument in call.arguments if not _is_view(argument))
    kept = set(row)
    for value in order:
        if isinstance(value, Call):
            for argument in value.arguments:
                base = _in_a_row(argument, row)
                kept.add(argument if base is None else base)
                if base is None:
                    row.add(argument)
        elif isinstance(value, Product):
            kept.update(map(_behind_view, value.operands))
        elif isinstance(value, Reduction) and not value.is_unrolled:
            kept.add(value)
        if isinstance(value, Product | Call):
            kept.add(value)
    kept = {value for value in kept if not isinstance(value, Stored)}
    return kept | _worth_keeping(order, kept), row


def _is_view(value: Value) -> bool:
    return isinstance(value, Stored) or (isinstance(value, View) and not value.given)


def _in_a_row(value: Value, row: Collection[Value]) -> Value | None:
    """What a value is a view of, if its memory will be laid out as the value is read."""
    base = _behind_view(value)
    found = strided(value, {base: _strides(base, row)})
    is_so = found is not None and found[1:] == (0, contiguous(value.shape))
    return base if is_so else None


def _behind_view(value: Value) -> Value:
    """What a value is a view of at constant distances; or else the value."""
    names = tuple(f"v{dim}" for dim in range(len(value.shape)))
    base, _ = _base(value, names)
    return value if strided(value, {base: contiguous(base.shape)}) is None else base


def _worth_keeping(order: Sequence[Value], kept: set[Value]) -> set[Value]:
    """What would otherwise be computed too often."""
    users: dict[Value, int] = defaultdict(int)
    reach: dict[Value, int] = defaultdict(int)  # numbers of whatever it is computed for
    for value in reversed(order):
        size = terms_of(value)[0].size
        for operand in value.operands:
            users[operand] += 1
            reach[operand] = max(reach[operand], size, 0 if value in kept else reach[value])
    found: set[Value] = set()
    cost: dict[Value, int] = {}
    for value in order:
        own = value.cost + sum(cost[operand] * _times(value, operand) for operand in value.operands)
        if isinstance(value, Pointwise | Reduction) and (
            (own >= KEPT_IF_SHARED and users[value] > 1)
            or (own >= KEPT_IF_REPEATED and reach[value] > 2 * value.size)
            or own >= MOST_INLINED
        ):
            found.add(value)
        cost[value] = 0 if value in kept or value in found else own
    return found


def _times(value: Value, operand: Value) -> int:
    """How often a value reads an operand for one number."""
    if isinstance(value, Reduction):
        return value.num_terms if value.is_unrolled else 1
    return 1


def _strides(root: Value, row: Collection[Value]) -> Shape:
    """How a root's memory is laid out: the longest dimension in a row, as loops run along it.

    Args:
        root: What is kept.
        row: What has to be contiguous.
    """
    if root in row:
        return contiguous(root.shape)
    by_length = sorted(range(len(root.shape)), key=lambda dim: (-root.shape[dim], dim))
    strides, step = [0] * len(root.shape), 1
    for dim in by_length:
        strides[dim] = step
        step *= root.shape[dim]
    return tuple(strides)


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
