"""Which values are kept in memory, and how they are laid out there."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from pyro_decomp.acceleration.fusion.indexing import Index, Shape, contiguous
from pyro_decomp.acceleration.fusion.loops import Loops
from pyro_decomp.acceleration.fusion.values import (
    Call,
    Expression,
    Product,
    Reduction,
    Stored,
    Value,
    View,
)

KEPT_IF_SHARED = 8  # cost from which on a value is not computed twice
KEPT_IF_REPEATED = 3  # the same for one that is needed at many places of what needs it
MOST_INLINED = 300  # cost of one expression


def materialized(order: Sequence[Value], outputs: Sequence[Value]) -> dict[Value, Shape]:
    """The values that are kept in memory, with their strides there; outputs are contiguous."""
    calls = [value for value in order if isinstance(value, Call)]
    in_order = dict.fromkeys([*order, *(result for call in calls for result in call.results)])
    whole = set(outputs)  # what has to be contiguous
    for call in calls:
        whole.update(call.results, (each for each in call.operands if not _is_view(each)))
    kept = set(whole)
    for value in order:
        if isinstance(value, Call):
            kept.add(value)
            for operand in value.operands:
                base = _viewed_contiguously(operand, whole)
                kept.add(operand if base is None else base)
                if base is None:
                    whole.add(operand)
        elif isinstance(value, Product):
            kept.update([value, *map(_viewed, value.operands)])
        elif isinstance(value, Reduction) and not value.is_unrolled:
            kept.add(value)
    kept = {value for value in kept if not isinstance(value, Stored)}
    kept |= _worth_keeping(order, kept)
    return {value: _strides(value, whole) for value in in_order if value in kept}


def strided(value: Value, strides: Mapping[Value, Shape]) -> tuple[Value, int, Shape] | None:
    """Where the numbers of a value are that is a strided view of memory.

    Returns:
        What it is a view of, a kept value or an input; where in it the first number is; and its
        strides. None if it is no such view.
    """
    names = tuple(f"v{dim}" for dim in range(len(value.shape)))
    base, index = _base_of(value, names, strides)
    steps = base.strides if isinstance(base, Stored) else strides.get(base)
    if steps is None:
        return None
    found, first = dict.fromkeys(names, 0), 0
    for place, step in zip(index, steps, strict=True):
        if place.isdigit():
            first += int(place) * step
        elif place in found:
            found[place] += step
        else:
            return None
    return base, first, tuple(found.values())


def _base_of(value: Value, index: Index, kept: Collection[Value] = ()) -> tuple[Value, Index]:
    """What a value is a view of, and the index into it."""
    while isinstance(value, View) and value not in kept:
        index = value.place(index)
        value = value.base
    return value, index


def _is_view(value: Value) -> bool:
    return isinstance(value, Stored | View)


def _viewed(value: Value) -> Value:
    """What a value is a strided view of; or else the value."""
    base, _ = _base_of(value, tuple(f"v{dim}" for dim in range(len(value.shape))))
    return value if strided(value, {base: contiguous(base.shape)}) is None else base


def _viewed_contiguously(value: Value, whole: Collection[Value]) -> Value | None:
    """What a value is a view of, if in the memory of that its numbers will be contiguous."""
    base = _viewed(value)
    found = strided(value, {base: _strides(base, whole)})
    is_so = found is not None and found[1:] == (0, contiguous(value.shape))
    return base if is_so else None


def _worth_keeping(order: Sequence[Value], kept: set[Value]) -> set[Value]:
    """What would otherwise be computed too often."""
    users: dict[Value, int] = defaultdict(int)
    reach: dict[Value, int] = defaultdict(int)  # numbers of whatever it is computed for
    for value in reversed(order):
        size = Loops(value).terms.size
        for operand in value.operands:
            users[operand] += 1
            reach[operand] = max(reach[operand], size, 0 if value in kept else reach[value])
    found: set[Value] = set()
    cost: dict[Value, int] = {}
    for value in order:
        times = value.cost if isinstance(value, Reduction) and value.is_unrolled else 1
        own = value.cost + times * sum(cost[operand] for operand in value.operands)
        if isinstance(value, Expression | Reduction) and (
            (own >= KEPT_IF_SHARED and users[value] > 1)
            or (own >= KEPT_IF_REPEATED and reach[value] > 2 * value.size)
            or own >= MOST_INLINED
        ):
            found.add(value)
        cost[value] = 0 if value in kept or value in found else own
    return found


def _strides(value: Value, whole: Collection[Value]) -> Shape:
    """The strides of what is kept: the longest dimension is contiguous, as loops run along it."""
    if value in whole:
        return contiguous(value.shape)
    strides, step = [0] * len(value.shape), 1
    for dim in sorted(range(len(value.shape)), key=lambda dim: (-value.shape[dim], dim)):
        strides[dim] = step
        step *= value.shape[dim]
    return tuple(strides)
