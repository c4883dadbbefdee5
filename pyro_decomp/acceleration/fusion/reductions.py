"""Sums and largest numbers along dimensions, and what is made of them.

Functions take the arguments of torch's operations by torch's names, with a :class:`Value` in place
of every tensor.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch

from pyro_decomp.acceleration.errors import FusionError
from pyro_decomp.acceleration.fusion.values import (
    FLOATING,
    MOST_UNROLLED,
    Product,
    Reduction,
    Value,
    computed,
    converted,
    viewed,
)
from pyro_decomp.acceleration.fusion.views import reshaped

aten = torch.ops.aten


def _reduced(
    how: Literal["sum", "max"], base: Value, dims: Sequence[int] | None, keepdim: bool = False
) -> Value:
    """The sum or the largest along dimensions, or of all numbers."""
    rank = len(base.shape)
    every = tuple(range(rank))
    along = tuple(sorted({dim % rank for dim in dims})) if dims and rank else every
    if any(base.shape[dim] == 0 for dim in along):
        raise FusionError("a sum of no numbers")
    base = converted(base, "real" if base.kind in FLOATING or how == "max" else "int64_t")
    shape = tuple(base.shape[dim] for dim in every if dim not in along)
    result = Reduction(shape, base.kind, how, along, operands=(base,))
    if not keepdim:
        return result
    return reshaped(result, [1 if dim in along else base.shape[dim] for dim in every])


def _sum(self: Value, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    return _reduced("sum", self, dim, keepdim)


def _mean(self: Value, dim: Any = None, keepdim: bool = False, **_: Any) -> Value:
    total = _sum(self, dim, keepdim)
    return computed("{0} / {1}", total, float(self.size // max(1, total.size)))


def _norm(self: Value, ord: float, dim: Any, keepdim: bool, **_: Any) -> Value:  # noqa: A002
    if ord != 2:
        raise FusionError("norms other than the Euclidean are not written as C")
    return computed("sqrt_({0})", _sum(computed("{0} * {0}", self), dim, keepdim))


def _amax(self: Value, dim: Any, keepdim: bool) -> Value:
    result = _reduced("max", self, dim, keepdim)
    if self.size // max(1, result.size) > MOST_UNROLLED:
        raise FusionError("the largest of many is not written as C")
    return result


def _count(self: Value, dim: Any = None, keepdim: bool = False, all_: bool = False) -> Value:
    """Whether any of the numbers, or all, are not zero."""
    dims = [dim] if isinstance(dim, int) else dim
    count = _reduced("sum", converted(self, "bool"), dims, keepdim)
    wanted = self.size // max(1, count.size)
    return computed("{0} == {1}" if all_ else "{0} != 0", count, wanted, kind="bool")


def _logsumexp(self: Value, dim: Sequence[int], keepdim: bool) -> Value:
    most = _reduced("max", self, dim, keepdim=True)
    shift = computed("fabs_({0}) == INFINITY ? 0 : {0}", most)
    total = _sum(computed("exp_({0} - {1})", self, shift), dim, keepdim=True)
    result = computed("log_({0}); {2} + {1}", total, shift)
    return result if keepdim else viewed(aten.squeeze.dims, result, dim)


def _log_softmax(self: Value, dim: int, **_: Any) -> Value:
    apart = computed("{0} - {1}", self, _reduced("max", self, [dim], keepdim=True))
    total = _sum(computed("exp_({0})", apart), [dim], keepdim=True)
    return computed("log_({1}); {0} - {2}", apart, total)


def _softmax(self: Value, dim: int, **_: Any) -> Value:
    most = _reduced("max", self, [dim], keepdim=True)
    terms = computed("exp_({0} - {1})", self, most)
    return computed("{0} / {1}", terms, _sum(terms, [dim], keepdim=True))


def _log_softmax_backward(grad_output: Value, output: Value, dim: int, **_: Any) -> Value:
    total = _sum(grad_output, [dim], keepdim=True)
    return computed("{0} - exp_({1}) * {2}", grad_output, output, total)


def _softmax_backward(grad_output: Value, output: Value, dim: int, **_: Any) -> Value:
    weighted = computed("{0} * {1}", grad_output, output)
    return computed("{0} - {1} * {2}", weighted, output, _sum(weighted, [dim], keepdim=True))


def _mm(self: Value, mat2: Value) -> Value:
    """A product of matrices; of few terms, a sum like others."""
    if self.kind not in FLOATING:
        raise FusionError("a product of matrices of integers is not written as C")
    left, right = converted(self, "real"), converted(mat2, "real")
    (rows, terms), columns = left.shape, right.shape[1]
    if terms > MOST_UNROLLED // 2:
        return Product((rows, columns), "real", operands=(left, right))
    first, second = viewed(aten.unsqueeze.default, left, 2), reshaped(right, (1, terms, columns))
    return _sum(computed("{0} * {1}", first, second), [1])


def _addmm(self: Value, mat1: Value, mat2: Value, beta: float, alpha: float) -> Value:
    if (beta, alpha) != (1, 1):
        raise FusionError("addmm with factors is not written as C")
    return computed("{0} + {1}", _mm(mat1, mat2), self)


REDUCTIONS: dict[str, Callable[..., Value]] = {
    "mm": _mm,
    "addmm": _addmm,
    "sum": _sum,
    "mean": _mean,
    "amax": _amax,
    "all": partial(_count, all_=True),
    "any": _count,
    "logsumexp": _logsumexp,
    "_log_softmax": _log_softmax,
    "_softmax": _softmax,
    "_log_softmax_backward_data": _log_softmax_backward,
    "_softmax_backward_data": _softmax_backward,
    "linalg_vector_norm": _norm,
}
