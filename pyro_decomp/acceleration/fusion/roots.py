"""Which values are kept in memory, and how they are laid out there."""

from collections import defaultdict
from collections.abc import Collection, Sequence

from pyro_decomp.acceleration.fusion.loops import base_of, strided, terms_of
from pyro_decomp.acceleration.fusion.values import (
    Call,
    Pointwise,
    Product,
    Reduction,
    Shape,
    Stored,
    Value,
    View,
    contiguous,
)

KEPT_IF_SHARED = 8  # cost from which on a value is not computed twice
KEPT_IF_REPEATED = 3  # the same for one that is needed at many places of what needs it
MOST_INLINED = 300  # cost of one expression


def roots_of(order: Sequence[Value], outputs: Sequence[Value]) -> tuple[set[Value], set[Value]]:
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
    found = strided(value, {base: strides_of(base, row)})
    is_so = found is not None and found[1:] == (0, contiguous(value.shape))
    return base if is_so else None


def _behind_view(value: Value) -> Value:
    """What a value is a view of at constant distances; or else the value."""
    names = tuple(f"v{dim}" for dim in range(len(value.shape)))
    base, _ = base_of(value, names)
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


def strides_of(root: Value, row: Collection[Value]) -> Shape:
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
