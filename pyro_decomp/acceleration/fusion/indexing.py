"""Indices of tensors as C expressions. Internal.

An index has one expression a dimension. Digits are folded where they are known, so that an
unrolled loop reads constant places.
"""

import math
import operator
from collections.abc import Sequence

Index = tuple[str, ...]
Shape = tuple[int, ...]

_OPERATIONS = {
    "+": operator.add,
    "*": operator.mul,
    "/": operator.floordiv,
    "%": operator.mod,
}


def combined(first: str, sign: str, second: str) -> str:
    """A C expression of two that are not negative, of which digits are computed.

    >>> combined("i0", "*", "3"), combined("7", "/", "2"), combined("0", "+", "i1")
    ('(i0 * 3)', '3', 'i1')
    """
    if first.isdigit() and second.isdigit():
        return str(_OPERATIONS[sign](int(first), int(second)))
    if sign == "+" and first == "0":
        return second
    is_same = second == ("0" if sign == "+" else "1") and sign != "%"
    return first if is_same else f"({first} {sign} {second})"


def contiguous(shape: Sequence[int]) -> Shape:
    """The strides of a contiguous tensor of a shape."""
    return tuple(math.prod(max(1, n) for n in shape[dim + 1 :]) for dim in range(len(shape)))


def offset(index: Index, strides: Shape) -> str:
    """The C expression of where the number at an index is in memory.

    >>> offset(("i0", "3", "i1"), (8, 2, 0))
    'i0 * 8 + 6'
    """
    terms, known = [], 0
    for place, stride in zip(index, strides, strict=True):
        if place.isdigit():
            known += int(place) * stride
        elif stride:
            terms.append(place if stride == 1 else f"{place} * {stride}")
    if known or not terms:
        terms.append(str(known))
    return " + ".join(terms)


def viewed_index(index: Index, shape: Shape, strides: Shape, first: int, base: Shape) -> Index:
    """The index into a contiguous tensor that a view of it reads at an index.

    >>> viewed_index(("i", "j"), (3, 2), (1, 3), 0, (2, 3))  # transposed
    ('j', 'i')
    >>> viewed_index(("i",), (6,), (1,), 0, (2, 3))  # flattened
    ('(i / 3)', '(i % 3)')
    """
    terms = [
        (stride, extent, each)
        for each, extent, stride in zip(index, shape, strides, strict=True)
        if stride and extent > 1
    ]
    found, steps = [], contiguous(base)
    for dim, (extent, step) in enumerate(zip(base, steps, strict=True)):
        if extent == 1:
            found.append("0")
            continue
        # The largest unit in which what is below it never adds up to one: a step, if possible.
        unit = next(
            unit
            for unit in steps[dim:]
            if first % unit + sum(stride % unit * (n - 1) for stride, n, _ in terms) < unit
        )
        total = str(first // unit)
        for stride, _, each in reversed([term for term in terms if term[0] >= unit]):
            total = combined(combined(each, "*", str(stride // unit)), "+", total)
        terms = [(stride % unit, n, each) for stride, n, each in terms if stride % unit]
        first %= unit
        times = step // unit
        found.append(combined(total, "/", str(times)))
        if times > 1:
            terms.insert(0, (unit, times, combined(total, "%", str(times))))
    return tuple(found)
