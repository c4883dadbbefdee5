"""Operations that only move numbers, or make constant ones, and the gradients of these."""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch

from pyro_decomp.acceleration.fusion import views
from pyro_decomp.acceleration.fusion.arithmetic import Operation, kind_of_dtype
from pyro_decomp.acceleration.fusion.refusal import FusionError
from pyro_decomp.acceleration.fusion.values import Number, Value, literal
from pyro_decomp.acceleration.fusion.views import converted

aten = torch.ops.aten


def _same(base: Value, **_: Any) -> Value:
    return base


def _filled(like: Value, number: float, **named: Any) -> Value:
    return _number(like.shape, number, like, **named)


def _copied(base: Value, other: Value, **_: Any) -> Value:
    return converted(views.expanded(other, base.shape), base.kind)


def _number(
    shape: Sequence[int], number: float, like: Value, dtype: torch.dtype | None = None, **_: Any
) -> Value:
    kind = like.kind if dtype is None else kind_of_dtype(dtype)
    return Number(tuple(shape), kind, literal(number, kind))


def _parts(base: Value, sizes: Sequence[int], dim: int) -> list[Value]:
    ends = list(accumulate(sizes, initial=0))
    return [views.sliced(base, dim, *ends[i : i + 2]) for i in range(len(sizes))]


def _split(base: Value, size: int, dim: int = 0) -> list[Value]:
    extent = base.shape[dim]
    return _parts(base, [min(size, extent - at) for at in range(0, extent, size)], dim)


def _unbind(base: Value, dim: int = 0) -> list[Value]:
    return [views.selected(base, dim, at) for at in range(base.shape[dim])]


def _slice_backward(grad: Value, sizes: Sequence[int], dim: int, *given: int) -> Value:
    start, end, step = given
    if step != 1:
        raise FusionError("the gradient of a slice with steps is not written as C")
    return views.padded(grad, sizes, dim, range(sizes[dim])[start:end].start)


def _select_backward(grad: Value, sizes: Sequence[int], dim: int, at: int) -> Value:
    whole = views.unsqueezed(grad, dim % len(sizes))
    return views.padded(whole, sizes, dim, at % sizes[dim])


def _stack(values: Sequence[Value], dim: int = 0) -> Value:
    dim %= len(values[0].shape) + 1
    return views.concatenated([views.unsqueezed(value, dim) for value in values], dim)


SHAPES: dict[Any, Operation] = {
    aten.alias.default: _same,
    aten.detach.default: _same,
    aten.clone.default: _same,
    aten.t.default: views.transposed,
    aten.transpose.int: views.transposed,
    aten.permute.default: views.permuted,
    aten.expand.default: lambda base, shape, **_: views.expanded(base, shape),
    aten.unsqueeze.default: views.unsqueezed,
    aten.squeeze.default: views.squeezed,
    aten.squeeze.dim: lambda base, dim: views.squeezed(base, [dim]),
    aten.squeeze.dims: views.squeezed,
    aten.select.int: views.selected,
    aten.slice.Tensor: lambda base, dim=0, start=None, end=None, step=1: views.sliced(
        base, dim, start, end, step
    ),
    aten.unbind.int: _unbind,
    aten.split.Tensor: _split,
    aten.split_with_sizes.default: lambda base, sizes, dim=0: _parts(base, sizes, dim),
    aten.view.default: views.reshaped,
    aten._unsafe_view.default: views.reshaped,
    aten.reshape.default: views.reshaped,
    aten.repeat.default: views.repeated,
    aten.cat.default: views.concatenated,
    aten.stack.default: _stack,
    aten.gather.default: lambda base, dim, index, **_: views.gathered(base, dim, index),
    aten.slice_backward.default: _slice_backward,
    aten.select_backward.default: _select_backward,
    aten.triu.default: lambda base, offset=0: views.triangle(base, ">=", offset),
    aten.tril.default: lambda base, offset=0: views.triangle(base, "<=", offset),
    aten.diagonal.default: views.diagonal,
    aten.diag_embed.default: views.on_diagonal,
    aten.diagonal_backward.default: views.diagonal_backward,
    aten.new_zeros.default: lambda like, shape, **named: _number(shape, 0, like, **named),
    aten.new_ones.default: lambda like, shape, **named: _number(shape, 1, like, **named),
    aten.new_full.default: lambda like, shape, fill, **named: _number(shape, fill, like, **named),
    aten.zeros_like.default: lambda like, **_: _filled(like, 0),
    aten.ones_like.default: lambda like, **_: _filled(like, 1),
    aten.empty_like.default: lambda like, **_: _filled(like, 0),  # whatever is in it
    aten.full_like.default: _filled,
    aten.fill.Scalar: _filled,
    aten.copy.default: _copied,
}
