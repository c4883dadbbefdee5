"""Which values are kept in memory, and how they are laid out there."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from pyro_decomp.acceleration.fusion.indexing import Shape, contiguous
from pyro_decomp.acceleration.fusion.values import (
    Call,
    Expression,
    Product,
    Reduction,
    Stored,
    Value,
    View,
    in_order,
)

KEPT = 8  # cost from which on a value is not computed more than twice
MOST_INLINED = 300  # cost of one expression


def materialized(outputs: Sequence[Value]) -> dict[Value, Shape]:
    """The values that are kept in memory, each after what it needs, with their strides there.

    Args:
        outputs: What the program gives, which is contiguous.
    """
    order: list[Value] = []
    kept, whole = set(outputs), set(outputs)  # whole is what has to be contiguous
    for value in in_order(outputs):
        order.append(value)
        if isinstance(value, Call):
            order += value.results  # also those that nothing needs are written to
            kept.add(value)
            whole.update(value.results, value.operands)
        elif isinstance(value, Product):
            kept.update([value, *map(_viewed, value.operands)])
        elif isinstance(value, Reduction) and not value.is_unrolled:
            kept.add(value)
    kept = {value for value in kept | whole if not isinstance(value, Stored)}
    kept |= _worth_keeping(order, kept)
    return {value: _strides(value, whole) for value in order if value in kept}


def strided(value: Value, strides: Mapping[Value, Shape]) -> tuple[Value, int, Shape] | None:
    """Where the numbers of a value are that is a strided view of memory.

    Args:
        value: What is asked for.
        strides: Of the values that are kept.

    Returns:
        What it is a view of, a kept value or an input; where in it the first number is; and its
        strides. None if it is no such view.
    """
    index = names = tuple(f"v{dim}" for dim in range(len(value.shape)))
    while isinstance(value, View) and value not in strides:
        index, value = value.place(index), value.base
    steps = contiguous(value.shape) if isinstance(value, Stored) else strides.get(value)
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
    return value, first, tuple(found.values())


def _viewed(value: Value) -> Value:
    """What a value is a strided view of; or else the value."""
    base = value
    while isinstance(base, View):
        base = base.base
    return value if strided(value, {base: contiguous(base.shape)}) is None else base


def _worth_keeping(order: Sequence[Value], kept: Collection[Value]) -> set[Value]:
    """What would otherwise be computed too often."""
    users: dict[Value, int] = defaultdict(int)
    reach: dict[Value, int] = defaultdict(int)  # numbers of whatever it is computed for
    for value in reversed(order):
        for operand in value.operands:
            users[operand] += 1
            further = 0 if value in kept else reach[value]
            reach[operand] = max(reach[operand], value.terms.size, further)
    found: set[Value] = set()
    cost: dict[Value, int] = {}
    for value in order:
        times = value.cost if isinstance(value, Reduction) and value.is_unrolled else 1
        own = value.cost + times * sum(cost[operand] for operand in value.operands)
        is_repeated = users[value] > 1 or reach[value] >= 2 * value.size
        if isinstance(value, Expression | Reduction) and (
            (own >= KEPT and is_repeated) or own >= MOST_INLINED
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
