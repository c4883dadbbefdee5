"""Views of values: the same numbers at other indices."""

import math
from collections.abc import Callable, Sequence

from pyro_decomp.acceleration.fusion.refusal import FusionError
from pyro_decomp.acceleration.fusion.values import (
    Chosen,
    Index,
    Kind,
    Masked,
    Number,
    Pointwise,
    Reader,
    Shape,
    Value,
    View,
    promoted,
)

ZERO = "0"


def within(dims: Sequence[int], rank: int) -> list[int]:
    """Dimensions counted from the first; a single number has one for whoever asks, which is none.

    >>> within([-1, 0], 3), within([-1], 0)
    ([2, 0], [])
    """
    return [dim % rank for dim in dims] if rank else []


def viewed(base: Value, shape: Sequence[int], place: Callable[[Index], Index]) -> Value:
    """A view of a shape whose numbers are at ``place(index)``."""
    if isinstance(base, Number):
        return Number(tuple(shape), base.kind, base.text)
    return View(tuple(shape), base.kind, base, lambda index, _: place(index))


def permuted(base: Value, dims: Sequence[int]) -> Value:
    """The dimensions in another order."""
    dims = [dim % len(base.shape) for dim in dims]
    from_ = [dims.index(dim) for dim in range(len(dims))]
    shape = [base.shape[dim] for dim in dims]
    return viewed(base, shape, lambda index: tuple(index[place] for place in from_))


def transposed(base: Value, first: int = 0, second: int = 1) -> Value:
    """Two dimensions exchanged; a vector stays what it is."""
    dims = list(range(len(base.shape)))
    if len(dims) < 2:
        return base
    dims[first], dims[second] = dims[second], dims[first]
    return permuted(base, dims)


def expanded(base: Value, shape: Sequence[int]) -> Value:
    """Dimensions of 1 repeated, and others put before; -1 leaves one as it is."""
    new = len(shape) - len(base.shape)
    own = [1] * new + list(base.shape)
    full = tuple(o if wanted == -1 else wanted for o, wanted in zip(own, shape, strict=True))
    if full == base.shape:
        return base

    def place(index: Index) -> Index:
        kept = zip(base.shape, index[new:], strict=True)
        return tuple(ZERO if extent == 1 else each for extent, each in kept)

    return viewed(base, full, place)


def broadcast(*values: Value) -> list[Value]:
    """All of one shape, as torch broadcasts them."""
    shape = broadcast_shape(*(value.shape for value in values))
    return [expanded(value, shape) for value in values]


def broadcast_shape(*shapes: Shape) -> Shape:
    """The shape that torch broadcasts these to."""
    size = max(map(len, shapes))
    full = [(1,) * (size - len(shape)) + shape for shape in shapes]
    return tuple(next((n for n in each if n != 1), 1) for each in zip(*full, strict=True))


def unsqueezed(base: Value, dim: int) -> Value:
    """One more dimension, of 1."""
    dim %= len(base.shape) + 1
    shape = [*base.shape[:dim], 1, *base.shape[dim:]]
    return viewed(base, shape, lambda index: (*index[:dim], *index[dim + 1 :]))


def squeezed(base: Value, dims: Sequence[int] | None = None) -> Value:
    """Without those of these dimensions, or of all, that are 1."""
    rank = len(base.shape)
    asked = range(rank) if dims is None else within(dims, rank)
    gone = {dim for dim in asked if base.shape[dim] == 1}
    shape = [extent for dim, extent in enumerate(base.shape) if dim not in gone]

    def place(index: Index) -> Index:
        rest = iter(index)
        return tuple(ZERO if dim in gone else next(rest) for dim in range(rank))

    return viewed(base, shape, place)


def selected(base: Value, dim: int, at: int) -> Value:
    """What is at one place of a dimension."""
    dim %= len(base.shape)
    at %= base.shape[dim]
    shape = [*base.shape[:dim], *base.shape[dim + 1 :]]
    return viewed(base, shape, lambda index: (*index[:dim], str(at), *index[dim:]))


def sliced(base: Value, dim: int, start: int | None, end: int | None, step: int = 1) -> Value:
    """Every ``step``-th from ``start`` to before ``end``."""
    dim %= len(base.shape)
    there = range(base.shape[dim])[slice(start, end, step)]
    if len(there) == base.shape[dim]:
        return base
    shape = [*base.shape[:dim], len(there), *base.shape[dim + 1 :]]
    first = there.start

    def place(index: Index) -> Index:
        return (*index[:dim], _sum(_times(index[dim], step), first), *index[dim + 1 :])

    return viewed(base, shape, place)


def repeated(base: Value, times: Sequence[int]) -> Value:
    """The whole again and again along dimensions."""
    new = len(times) - len(base.shape)
    own = [1] * new + list(base.shape)
    shape = [extent * count for extent, count in zip(own, times, strict=True)]

    def place(index: Index) -> Index:
        triples = zip(base.shape, times[new:], index[new:], strict=True)
        return tuple(i if count == 1 else _rest(i, extent) for extent, count, i in triples)

    return viewed(base, shape, place)


def reshaped(base: Value, shape: Sequence[int]) -> Value:
    """The same numbers in the same order in another shape; one -1 stands for what is left."""
    known = math.prod(extent for extent in shape if extent != -1)
    full = tuple(base.size // known if extent == -1 else extent for extent in shape)
    if full == base.shape:
        return base
    groups = _groups(base.shape, full)

    def place(index: Index) -> Index:
        found: list[str] = [ZERO] * len(base.shape)
        for old, new in groups:
            linear = _linear([index[dim] for dim in new], [full[dim] for dim in new])
            _split(linear, old, base.shape, found)
        return tuple(found)

    return viewed(base, full, place)


def gathered(base: Value, dim: int, index: Value) -> Value:
    """Along a dimension, at places that another value tells."""
    dim %= len(base.shape)

    def place(at: Index, reader: Reader) -> Index:
        there = f"clamped({reader.of(index, at)}, {base.shape[dim]})"  # nothing outside is read
        return (*at[:dim], there, *at[dim + 1 :])

    return View(index.shape, base.kind, base, place, (index,))


def concatenated(values: Sequence[Value], dim: int = 0) -> Value:
    """One after another along a dimension."""
    values = [value for value in values if value.size]
    if not values:
        raise FusionError("a tensor of no numbers")
    if len(values) == 1:
        return values[0]
    dim %= len(values[0].shape)
    parts, begin = [], 0
    for value in values:
        parts.append((begin, value))
        begin += value.shape[dim]
    shape = list(values[0].shape)
    shape[dim] = begin
    kinds = {value.kind for value in values}
    kind = values[0].kind if len(kinds) == 1 else promoted(*kinds)
    return Chosen(tuple(shape), kind, dim, parts)


def padded(part: Value, shape: Sequence[int], dim: int, begin: int) -> Value:
    """A value within zeros."""
    return Chosen(tuple(shape), part.kind, dim % len(shape), [(begin, part)])


def diagonal(base: Value, offset: int = 0, first: int = 0, second: int = 1) -> Value:
    """What is on a diagonal of two dimensions, as a last dimension."""
    rank = len(base.shape)
    first, second = first % rank, second % rank
    rows, columns = base.shape[first], base.shape[second]
    length = min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns)
    shape = [extent for dim, extent in enumerate(base.shape) if dim not in (first, second)]

    def place(index: Index) -> Index:
        rest, along = iter(index[:-1]), index[-1]
        at = {first: _sum(along, max(-offset, 0)), second: _sum(along, max(offset, 0))}
        return tuple(at[dim] if dim in at else next(rest) for dim in range(rank))

    return viewed(base, [*shape, length], place)


def on_diagonal(base: Value, offset: int = 0, first: int = -2, second: int = -1) -> Value:
    """The last dimension on the diagonal of two, and zeros."""
    if (offset, first, second) != (0, -2, -1):
        raise FusionError("a diagonal other than of the last dimensions is not written as C")
    shape = (*base.shape, base.shape[-1])
    wide = viewed(base, shape, lambda index: index[:-1])
    return Masked(shape, base.kind, wide, lambda index: f"({index[-2]} == {index[-1]})")


def diagonal_backward(
    grad: Value, sizes: Sequence[int], offset: int, first: int, second: int
) -> Value:
    """The gradient of :func:`diagonal` of a matrix."""
    if len(sizes) != 2 or (first % 2, second % 2) != (0, 1):
        raise FusionError("the gradient of a diagonal of many dimensions is not written as C")
    extent = grad.shape[0]

    def place(index: Index) -> Index:
        return (f"clamped({index[0]} - ({max(-offset, 0)}), {extent})",)

    wide = viewed(grad, sizes, place)
    return Masked(
        tuple(sizes), grad.kind, wide, lambda index: f"({index[1]} == {index[0]} + ({offset}))"
    )


def triangle(base: Value, sign: str, offset: int = 0) -> Value:
    """What is on one side of a diagonal of the last two dimensions; ``sign`` compares columns."""
    return Masked(
        base.shape, base.kind, base, lambda at: f"({at[-1]} {sign} {at[-2]} + ({offset}))"
    )


def pointwise(template: str, *values: Value, price: int = 1, kind: Kind = "real") -> Value:
    """A C expression of numbers at the same index of values that are broadcast."""
    arguments = broadcast(*values)
    numbers = [value.text for value in arguments if isinstance(value, Number)]
    if len(numbers) == len(arguments):  # left to the compiler
        return Number(arguments[0].shape, kind, f"(({kind}){template.format(*numbers)})")
    return Pointwise(arguments[0].shape, kind, template, arguments, price)


def converted(value: Value, kind: Kind) -> Value:
    """Numbers of another C type."""
    if value.kind == kind:
        return value
    return pointwise("({0} != 0)" if kind == "bool" else f"(({kind}){{0}})", value, kind=kind)


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    """The fewest dimensions of both that have the same number of places; those of 1 apart."""
    groups = []
    before = [dim for dim, extent in enumerate(old) if extent != 1]
    after = [dim for dim, extent in enumerate(new) if extent != 1]
    while before or after:
        if not before or not after:
            raise FusionError(f"a view of {old} as {new}")
        these, those = [before.pop(0)], [after.pop(0)]
        while (n := math.prod(old[d] for d in these)) != (m := math.prod(new[d] for d in those)):
            (these if n < m else those).append((before if n < m else after).pop(0))
        groups.append((these, those))
    return groups


def _linear(index: Sequence[str], extents: Sequence[int]) -> str:
    text = index[0]
    for each, extent in zip(index[1:], extents[1:], strict=True):
        text = _plus(_times(text, extent), each)
    return text


def _split(linear: str, dims: Sequence[int], shape: Shape, found: list[str]) -> None:
    below = math.prod(shape[dim] for dim in dims)
    for position, dim in enumerate(dims):
        below //= shape[dim]
        above = _over(linear, below)
        found[dim] = above if position == 0 else _rest(above, shape[dim])


def _times(text: str, factor: int) -> str:
    if text.isdigit():
        return str(int(text) * factor)
    return text if factor == 1 else f"({text} * {factor})"


def _sum(text: str, term: int) -> str:
    if text.isdigit():
        return str(int(text) + term)
    return text if term == 0 else f"({text} + {term})"


def _plus(first: str, second: str) -> str:
    if second.isdigit():
        return _sum(first, int(second))
    return _sum(second, int(first)) if first.isdigit() else f"({first} + {second})"


def _over(text: str, divisor: int) -> str:
    if text.isdigit():
        return str(int(text) // divisor)
    return text if divisor == 1 else f"({text} / {divisor})"


def _rest(text: str, divisor: int) -> str:
    if text.isdigit():
        return str(int(text) % divisor)
    return f"({text} % {divisor})"
