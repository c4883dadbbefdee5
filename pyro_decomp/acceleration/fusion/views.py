"""Values whose numbers are those of others at other places: views, and tensors put together."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pyro_decomp.acceleration.errors import FusionError
from pyro_decomp.acceleration.fusion.indexing import Index, contiguous
from pyro_decomp.acceleration.fusion.values import (
    Expression,
    Reader,
    Value,
    View,
    expanded,
    promoted,
    viewed,
)

aten = torch.ops.aten


def copied(base: Value) -> Value:
    """The numbers of a value as another one, which has memory of its own where it is kept."""
    return View(base.shape, base.kind, contiguous(base.shape), 0, operands=(base,))


def reshaped(base: Value, shape: Sequence[int]) -> Value:
    """The numbers of a value in the same order in another shape."""
    view: Value = viewed(aten.view.default, base, list(shape))
    return view


def concatenated(tensors: Sequence[Value], dim: int) -> Value:
    """Values one after another along a dimension."""
    tensors = [value for value in tensors if value.size]
    if not tensors:
        raise FusionError("a tensor of no numbers")
    dim %= len(tensors[0].shape)
    parts, end = [], 0
    for value in tensors:
        parts.append((end, value))
        end += value.shape[dim]
    shape = [*tensors[0].shape]
    shape[dim] = end
    return tensors[0] if len(tensors) == 1 else _placed(parts, shape, dim)


def stacked(tensors: Sequence[Value], dim: int) -> Value:
    """Values one after another along a new dimension."""
    dim %= len(tensors[0].shape) + 1
    return concatenated([viewed(aten.unsqueeze.default, each, dim) for each in tensors], dim)


def slice_backward(
    grad_output: Value, input_sizes: Sequence[int], dim: int, *, start: int, end: int, step: int
) -> Value:
    """The gradient of a slice: what it is within zeros."""
    if step != 1:
        raise FusionError("the gradient of a slice with steps is not written as C")
    first = range(input_sizes[dim])[start:end].start
    return _placed([(first, grad_output)], input_sizes, dim)


def select_backward(grad_output: Value, input_sizes: Sequence[int], dim: int, index: int) -> Value:
    """The gradient of what is at one place of a dimension."""
    whole = viewed(aten.unsqueeze.default, grad_output, dim % len(input_sizes))
    return _placed([(index % input_sizes[dim], whole)], input_sizes, dim)


def gathered(self: Value, dim: int, index: Value, **_: Any) -> Value:
    """Numbers at places along a dimension that another value tells."""
    dim %= len(self.shape)

    def at(place: Index, reader: Reader) -> str:
        there = f"clamped({reader(index, place)}, {self.shape[dim]})"  # nothing outside is read
        return reader(self, _replaced(place, dim, there))

    return Expression(index.shape, self.kind, at, operands=(self, index))


def repeated(self: Value, repeats: Sequence[int]) -> Value:
    """A value repeated as a whole along its dimensions."""
    own = [1] * (len(repeats) - len(self.shape)) + list(self.shape)
    pairs = list(zip(repeats, own, strict=True))
    apart = reshaped(self, [n for extent in own for n in (1, extent)])
    whole = expanded(apart, [n for pair in pairs for n in pair])
    return reshaped(whole, [times * extent for times, extent in pairs])


def triangle(self: Value, diagonal: int, sign: str) -> Value:
    """What is on one side of a diagonal of the last two dimensions, and zeros."""
    return _masked(self, lambda at: f"{at[-1]} {sign} {at[-2]} + ({diagonal})")


def diagonal_matrices(self: Value, offset: int, dim1: int, dim2: int) -> Value:
    """The last dimension on the diagonal of two, and zeros."""
    if (offset, dim1, dim2) != (0, -2, -1):
        raise FusionError("a diagonal other than of the last dimensions is not written as C")
    wide = viewed(aten.unsqueeze.default, self, -1)
    return _masked(
        expanded(wide, (*self.shape, self.shape[-1])), lambda at: f"{at[-2]} == {at[-1]}"
    )


def diagonal_backward(
    grad_output: Value, input_sizes: Sequence[int], offset: int, dim1: int, dim2: int
) -> Value:
    """The gradient of a diagonal of a matrix."""
    if len(input_sizes) != 2 or (dim1 % 2, dim2 % 2) != (0, 1):
        raise FusionError("the gradient of a diagonal of many dimensions is not written as C")

    def along(at: Index, reader: Reader) -> str:
        there = f"clamped({at[0]} - ({max(-offset, 0)}), {grad_output.size})"
        return reader(grad_output, (there,))

    wide = Expression(tuple(input_sizes), grad_output.kind, along, operands=(grad_output,))
    return _masked(wide, lambda at: f"{at[1]} == {at[0]} + ({offset})")


def _placed(parts: Sequence[tuple[int, Value]], shape: Sequence[int], dim: int) -> Value:
    """Values that begin at places along a dimension, within zeros."""
    dim %= len(shape)

    def at(index: Index, reader: Reader) -> str:
        along, text = index[dim], "0"
        for begin, value in parts:
            extent = value.shape[dim]
            if along.isdigit():
                if begin <= int(along) < begin + extent:
                    return reader(value, _replaced(index, dim, str(int(along) - begin)))
                continue
            inside = f"clamped({along} - {begin}, {extent})"  # or it would be read from outside
            there = reader(value, _replaced(index, dim, inside if extent > 1 else "0"))
            text = f"({along} >= {begin} && {along} < {begin + extent} ? {there} : {text})"
        return text

    values = [value for _, value in parts]
    kinds = {value.kind for value in values}
    kind = kinds.pop() if len(kinds) == 1 else promoted(*kinds)
    return Expression(tuple(shape), kind, at, operands=values, cost=len(values))


def _masked(base: Value, condition: Callable[[Index], str]) -> Value:
    """A value's numbers where a C condition on the index holds, and 0 elsewhere."""

    def at(index: Index, reader: Reader) -> str:
        return f"({condition(index)} ? {reader(base, index)} : 0)"

    return Expression(base.shape, base.kind, at, operands=(base,), cost=1)


def _replaced(index: Index, dim: int, place: str) -> Index:
    return (*index[:dim], place, *index[dim + 1 :])
