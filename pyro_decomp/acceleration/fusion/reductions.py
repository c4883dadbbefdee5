"""Sums and largest numbers along dimensions, and what is made of them."""

from collections.abc import Sequence
from typing import Any, Literal

import torch

from pyro_decomp.acceleration.fusion import views
from pyro_decomp.acceleration.fusion.arithmetic import DIVISION, SLOW, Operation, value_of
from pyro_decomp.acceleration.fusion.refusal import FusionError
from pyro_decomp.acceleration.fusion.values import (
    FLOATING,
    MOST_UNROLLED,
    Product,
    Reduction,
    Value,
)
from pyro_decomp.acceleration.fusion.views import converted, pointwise

aten = torch.ops.aten


def reduced(
    how: Literal["sum", "max"], base: Value, dims: Sequence[int] | None, keepdim: bool = False
) -> Value:
    """The sum or the largest along dimensions, or of all numbers."""
    rank = len(base.shape)
    along = tuple(sorted(set(views.within(dims, rank)))) if dims else tuple(range(rank))
    if any(base.shape[dim] == 0 for dim in along):
        raise FusionError("a sum of no numbers")
    base = converted(base, "real" if base.kind in FLOATING or how == "max" else "int64_t")
    shape = tuple(extent for dim, extent in enumerate(base.shape) if dim not in along)
    result: Value = Reduction(shape, base.kind, how, base, along)
    if not keepdim:
        return result
    return views.reshaped(result, [1 if d in along else n for d, n in enumerate(base.shape)])


def product(left: Value, right: Value) -> Value:
    """A product of matrices; of few terms, a sum like others."""
    if left.kind not in FLOATING:
        raise FusionError("a product of matrices of integers is not written as C")
    left, right = converted(left, "real"), converted(right, "real")
    (rows, terms), columns = left.shape, right.shape[1]
    if terms > MOST_UNROLLED // 2:
        return Product((rows, columns), "real", left, right)
    first = views.expanded(views.unsqueezed(left, 2), (rows, terms, columns))
    second = views.expanded(views.unsqueezed(right, 0), (rows, terms, columns))
    return reduced("sum", pointwise("({0} * {1})", first, second), [1])


def logsumexp(base: Value, dims: Sequence[int], keepdim: bool = False) -> Value:
    """Log of the sum of exponentials, which no number is too large or small for."""
    most = reduced("max", base, dims, keepdim=True)
    shift = pointwise("(fabs_({0}) == INFINITY ? 0 : {0})", most)
    terms = pointwise("exp_({0} - {1})", base, shift, price=SLOW)
    log = pointwise("log_({0})", reduced("sum", terms, dims, keepdim=True), price=SLOW)
    result = pointwise("({0} + {1})", log, shift)
    return result if keepdim else views.squeezed(result, dims)


def _addmm(bias: Value, left: Value, right: Value, **named: Any) -> Value:
    if any(named.get(name, 1) != 1 for name in ("alpha", "beta")):
        raise FusionError("addmm with factors is not written as C")
    return pointwise("({0} + {1})", product(left, right), bias)


def _sum(base: Value, dims: Any = None, keepdim: bool = False, **_: Any) -> Value:
    return reduced("sum", base, dims, keepdim)


def _mean(base: Value, dims: Any = None, keepdim: bool = False, **_: Any) -> Value:
    result = reduced("sum", base, dims, keepdim)
    return pointwise("({0} / {1})", result, value_of(float(base.size // max(1, result.size))))


def _norm(
    base: Value, order: float = 2, dims: Any = None, keepdim: bool = False, **_: Any
) -> Value:
    if order != 2:
        raise FusionError("norms other than the Euclidean are not written as C")
    squares = reduced("sum", pointwise("({0} * {0})", base), dims, keepdim)
    return pointwise("sqrt_({0})", squares, price=DIVISION)


def _amax(base: Value, dims: Any = (), keepdim: bool = False) -> Value:
    result = reduced("max", base, dims, keepdim)
    if base.size // max(1, result.size) > MOST_UNROLLED:
        raise FusionError("the largest of many is not written as C")
    return result


def _true(
    base: Value, dims: int | Sequence[int] | None = None, keepdim: bool = False
) -> tuple[Value, int]:
    """How many numbers along dimensions are not zero, and of how many."""
    along = [dims] if isinstance(dims, int) else dims
    result = reduced("sum", converted(base, "bool"), along, keepdim)
    return result, base.size // max(1, result.size)


def _all(base: Value, dims: Any = None, keepdim: bool = False) -> Value:
    count, size = _true(base, dims, keepdim)
    return pointwise("({0} == {1})", count, value_of(size), kind="bool")


def _any(base: Value, dims: Any = None, keepdim: bool = False) -> Value:
    count, _ = _true(base, dims, keepdim)
    return pointwise("({0} != 0)", count, kind="bool")


def _log_softmax(base: Value, dim: int, _: bool = False) -> Value:
    apart = pointwise("({0} - {1})", base, reduced("max", base, [dim], keepdim=True))
    terms = pointwise("exp_({0})", apart, price=SLOW)
    whole = reduced("sum", terms, [dim], keepdim=True)
    return pointwise("({0} - {1})", apart, pointwise("log_({0})", whole, price=SLOW))


def _softmax(base: Value, dim: int, _: bool = False) -> Value:
    most = reduced("max", base, [dim], keepdim=True)
    terms = pointwise("exp_({0} - {1})", base, most, price=SLOW)
    return pointwise("({0} / {1})", terms, reduced("sum", terms, [dim], keepdim=True))


def _log_softmax_backward(grad: Value, out: Value, dim: int, *_: Any) -> Value:
    whole = reduced("sum", grad, [dim], keepdim=True)
    return pointwise("({0} - exp_({1}) * {2})", grad, out, whole, price=SLOW)


def _softmax_backward(grad: Value, out: Value, dim: int, *_: Any) -> Value:
    weighted = pointwise("({0} * {1})", grad, out)
    whole = reduced("sum", weighted, [dim], keepdim=True)
    return pointwise("({0} - {1} * {2})", weighted, out, whole)


REDUCTIONS: dict[Any, Operation] = {
    aten.mm.default: product,
    aten.addmm.default: _addmm,
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
    aten.mean.default: _mean,
    aten.mean.dim: _mean,
    aten.amax.default: _amax,
    aten.all.default: _all,
    aten.all.dim: _all,
    aten.all.dims: _all,
    aten.any.default: _any,
    aten.any.dim: _any,
    aten.any.dims: _any,
    aten.logsumexp.default: logsumexp,
    aten._log_softmax.default: _log_softmax,
    aten._softmax.default: _softmax,
    aten._log_softmax_backward_data.default: _log_softmax_backward,
    aten._softmax_backward_data.default: _softmax_backward,
    aten.linalg_vector_norm.default: _norm,
}
