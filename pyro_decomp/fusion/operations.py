"""What torch's operations compute, as values."""

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Literal

import torch

from pyro_decomp.fusion import views
from pyro_decomp.fusion.refusal import FusionError
from pyro_decomp.fusion.values import (
    FLOATING,
    MOST_UNROLLED,
    Kind,
    Number,
    Product,
    Reduction,
    Value,
    literal,
    promoted,
)
from pyro_decomp.fusion.views import converted, pointwise

aten = torch.ops.aten
Operation = Callable[..., Value | list[Value]]

SLOW, DIVISION, CHEAP = 12, 4, 1  # prices, in additions

# C expressions of numbers, and what they cost. Functions with a trailing _ are those of prelude.h.
_ARITHMETIC: dict[Any, str] = {  # integers stay integers
    aten.mul.Tensor: "({0} * {1})",
    aten.mul.Scalar: "({0} * {1})",
    aten.neg.default: "(-{0})",
    aten.square.default: "({0} * {0})",
    aten.relu.default: "({0} <= 0 ? 0 : {0})",
    aten.clamp_min.default: "({0} < {1} ? {1} : {0})",
    aten.clamp_max.default: "({0} > {1} ? {1} : {0})",
    aten.threshold_backward.default: "({1} <= {2} ? 0 : {0})",
}
_REAL: dict[Any, tuple[str, int]] = {
    aten.div.Tensor: ("({0} / {1})", DIVISION),
    aten.div.Scalar: ("({0} / {1})", DIVISION),
    aten.abs.default: ("fabs_({0})", CHEAP),
    aten.reciprocal.default: ("(1 / {0})", DIVISION),
    aten.sqrt.default: ("sqrt_({0})", DIVISION),
    aten.rsqrt.default: ("(1 / sqrt_({0}))", 2 * DIVISION),
    aten.exp.default: ("exp_({0})", SLOW),
    aten.expm1.default: ("expm1_({0})", SLOW),
    aten.log.default: ("log_({0})", SLOW),
    aten.log1p.default: ("log1p_({0})", SLOW),
    aten.sin.default: ("sin_({0})", SLOW),
    aten.cos.default: ("cos_({0})", SLOW),
    aten.tanh.default: ("tanh_({0})", SLOW),
    aten.erf.default: ("erf_({0})", SLOW),
    aten.silu.default: ("({0} / (1 + exp_(-{0})))", SLOW),
    aten.leaky_relu_backward.default: ("({1} > 0 ? {0} : {0} * {2})", CHEAP),
    aten.lgamma.default: ("lgamma_({0})", 10 * SLOW),
    aten.sigmoid.default: ("(1 / (1 + exp_(-{0})))", SLOW),
    aten.sgn.default: ("sign({0})", CHEAP),
    aten.sign.default: ("sign({0})", CHEAP),
    aten.maximum.default: ("largest({0}, {1})", CHEAP),
    aten.minimum.default: ("smallest({0}, {1})", CHEAP),
    aten.sigmoid_backward.default: ("({0} * (1 - {1}) * {1})", CHEAP),
    aten.tanh_backward.default: ("({0} * (1 - {1} * {1}))", CHEAP),
}
_BOOL: dict[Any, str] = {
    aten.eq.Tensor: "({0} == {1})",
    aten.eq.Scalar: "({0} == {1})",
    aten.ne.Tensor: "({0} != {1})",
    aten.ne.Scalar: "({0} != {1})",
    aten.lt.Tensor: "({0} < {1})",
    aten.lt.Scalar: "({0} < {1})",
    aten.le.Tensor: "({0} <= {1})",
    aten.le.Scalar: "({0} <= {1})",
    aten.gt.Tensor: "({0} > {1})",
    aten.gt.Scalar: "({0} > {1})",
    aten.ge.Tensor: "({0} >= {1})",
    aten.ge.Scalar: "({0} >= {1})",
    aten.logical_not.default: "(!{0})",
    aten.logical_and.default: "({0} && {1})",
    aten.logical_or.default: "({0} || {1})",
    aten.isnan.default: "({0} != {0})",
}
_POWERS = {
    0.5: ("sqrt_({0})", DIVISION),
    1: ("{0}", 0),
    2: ("({0} * {0})", CHEAP),
    3: ("({0} * {0} * {0})", CHEAP),
    -1: ("(1 / {0})", DIVISION),
    -2: ("(1 / ({0} * {0}))", DIVISION),
}


def operation(target: Any) -> Operation:
    """What gives the value of an operation from its arguments, :class:`Value` in place of tensors.

    Raises:
        FusionError: It is not written as C; so does what is given, for some arguments.
    """
    if target in _ARITHMETIC:
        return lambda *given: _arithmetic(_ARITHMETIC[target], *given)
    if target in _REAL:
        template, price = _REAL[target]
        return lambda *given: _real(template, price, given)
    if target in _BOOL:
        return lambda *given: pointwise(_BOOL[target], *map(value_of, given), kind="bool")
    if target in _OTHER:
        return _OTHER[target]
    raise FusionError(f"{target} is not written as C")


def value_of(given: Any) -> Value:
    """A Python number as a value."""
    if isinstance(given, Value):
        return given
    kind: Kind = "real" if isinstance(given, float) else "int64_t"
    if isinstance(given, bool):
        kind = "bool"
    return Number((), kind, literal(given, kind))


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


def _real(template: str, price: int, given: Sequence[Any]) -> Value:
    values = [value_of(each) for each in given]
    if all(value.kind not in FLOATING for value in values):
        values = [converted(value, "real") for value in values]
    return pointwise(template, *values, price=price)


def _arithmetic(template: str, *given: Any) -> Value:
    values = [value_of(each) for each in given]
    return pointwise(template, *values, kind=promoted(*(value.kind for value in values)))


def _add(first: Any, second: Any, alpha: float = 1) -> Value:
    return _arithmetic("({0} + {1})", first, _scaled(second, alpha))


def _subtract(first: Any, second: Any, alpha: float = 1) -> Value:
    return _arithmetic("({0} - {1})", first, _scaled(second, alpha))


def _subtract_from(first: Any, second: Any, alpha: float = 1) -> Value:
    return _subtract(second, first, alpha)


def _scaled(value: Any, factor: float) -> Any:
    return value if factor == 1 else _arithmetic("({0} * {1})", value, factor)


def _of_bools(template: str) -> Operation:
    def operation(*given: Any) -> Value:
        values = [value_of(each) for each in given]
        if any(value.kind != "bool" for value in values):
            raise FusionError("operations on the bits of integers are not written as C")
        return pointwise(template, *values, kind="bool")

    return operation


def _addmm(bias: Value, left: Value, right: Value, **named: Any) -> Value:
    if any(named.get(name, 1) != 1 for name in ("alpha", "beta")):
        raise FusionError("addmm with factors is not written as C")
    return pointwise("({0} + {1})", product(left, right), bias)


def _power(base: Value, exponent: float) -> Value:
    if base.kind not in FLOATING:
        raise FusionError("a power of integers is not written as C")
    if exponent in _POWERS:
        template, price = _POWERS[exponent]
        return pointwise(template, base, price=price)
    return pointwise("pow_({0}, {1})", base, value_of(float(exponent)), price=2 * SLOW)


def _softplus(base: Value, beta: float = 1, threshold: float = 20) -> Value:
    # Each function in an expression of its own: inside of ?: they would not be called for vectors.
    scaled = pointwise("({0} * {1})", base, value_of(float(beta)))
    exp = pointwise("exp_({0})", scaled, price=SLOW)
    soft = pointwise("(log1p_({0}) / {1})", exp, value_of(float(beta)), price=SLOW)
    limit = value_of(float(threshold))
    return pointwise("({0} > {1} ? {2} : {3})", scaled, limit, base, soft)


def _softplus_backward(grad: Value, base: Value, beta: float, threshold: float) -> Value:
    scaled = pointwise("({0} * {1})", base, value_of(float(beta)))
    slope = pointwise("(1 / (1 + exp_(-{0})))", scaled, price=SLOW)
    limit = value_of(float(threshold))
    return pointwise("({1} > {2} ? {0} : {0} * {3})", grad, scaled, limit, slope)


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


def _leaky_relu(base: Value, slope: float = 0.01) -> Value:
    return pointwise("({0} > 0 ? {0} : {0} * {1})", base, value_of(float(slope)))


def _xlogy(base: Any, other: Any) -> Value:
    base, other = value_of(base), value_of(other)
    log = pointwise("log_({0})", other, price=SLOW)
    return pointwise("({0} == 0 && {1} == {1} ? 0 : {0} * {2})", base, other, log)


def _elu(base: Value, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Value:
    factors = [value_of(float(each)) for each in (alpha, scale, input_scale)]
    below = pointwise("({1} * expm1_({0} * {2}))", base, factors[0], factors[2], price=SLOW)
    return pointwise("({2} * ({0} > 0 ? {0} : {1}))", base, below, factors[1])


def _elu_backward(grad: Value, *given: Any) -> Value:
    alpha, scale, input_scale, is_result, base = given
    if is_result or input_scale != 1:
        raise FusionError("this form of the gradient of elu is not written as C")
    factors = [value_of(float(each)) for each in (alpha, scale)]
    slope = pointwise("({1} * exp_({0}))", base, factors[0], price=SLOW)
    return pointwise("({0} * {3} * ({1} > 0 ? 1 : {2}))", grad, base, slope, factors[1])


def _silu_backward(grad: Value, base: Value) -> Value:
    soft = pointwise("(1 / (1 + exp_(-{0})))", base, price=SLOW)
    return pointwise("({0} * {2} * (1 + {1} * (1 - {2})))", grad, base, soft)


def _cross_entropy(
    logits: Value, target: Value, weight: Any = None, positive: Any = None, reduction: int = 1
) -> Value:
    if weight is not None or positive is not None or reduction != 0:
        raise FusionError("this form of cross entropy is not written as C")
    exp = pointwise("exp_(-fabs_({0}))", logits, price=SLOW)
    log = pointwise("log1p_({0})", exp, price=SLOW)
    return pointwise("((1 - {1}) * {0} + {2} + ({0} < 0 ? -{0} : 0))", logits, target, log)


def _clamp(base: Value, least: Any = None, most: Any = None) -> Value:
    if least is not None:
        base = _arithmetic(_ARITHMETIC[aten.clamp_min.default], base, least)
    if most is not None:
        base = _arithmetic(_ARITHMETIC[aten.clamp_max.default], base, most)
    return base


def _where(condition: Value, first: Any, second: Any) -> Value:
    one, other = value_of(first), value_of(second)
    kind = promoted(one.kind, other.kind)
    return pointwise("({0} ? {1} : {2})", condition, one, other, kind=kind)


def _masked_fill(base: Value, mask: Value, number: float) -> Value:
    return _where(mask, Number((), base.kind, literal(number, base.kind)), base)


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


def _converted(base: Value, dtype: torch.dtype | None = None, **_: Any) -> Value:
    return base if dtype is None else converted(base, _kind(dtype))


def _filled(like: Value, number: float, **named: Any) -> Value:
    return _number(like.shape, number, like, **named)


def _copied(base: Value, other: Value, **_: Any) -> Value:
    return converted(views.expanded(other, base.shape), base.kind)


def _number(
    shape: Sequence[int], number: float, like: Value, dtype: torch.dtype | None = None, **_: Any
) -> Value:
    kind = like.kind if dtype is None else _kind(dtype)
    return Number(tuple(shape), kind, literal(number, kind))


def _kind(dtype: torch.dtype) -> Kind:
    kinds: dict[torch.dtype, Kind] = {torch.bool: "bool", torch.int64: "int64_t"}
    if dtype not in (*kinds, torch.float32, torch.float64):
        raise FusionError(f"tensors of {dtype} are not written as C")
    return kinds.get(dtype, "real")


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


def _same(base: Value, **_: Any) -> Value:
    return base


def _stack(values: Sequence[Value], dim: int = 0) -> Value:
    dim %= len(values[0].shape) + 1
    return views.concatenated([views.unsqueezed(value, dim) for value in values], dim)


_OTHER: dict[Any, Operation] = {
    aten.add.Tensor: _add,
    aten.add.Scalar: _add,
    aten.sub.Tensor: _subtract,
    aten.sub.Scalar: _subtract,
    aten.rsub.Tensor: _subtract_from,
    aten.rsub.Scalar: _subtract_from,
    aten.bitwise_not.default: _of_bools("(!{0})"),
    aten.bitwise_and.Tensor: _of_bools("({0} && {1})"),
    aten.bitwise_or.Tensor: _of_bools("({0} || {1})"),
    aten.alias.default: _same,
    aten.detach.default: _same,
    aten.clone.default: _same,
    aten._to_copy.default: _converted,
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
    aten.mm.default: product,
    aten.addmm.default: _addmm,
    aten.softplus.default: _softplus,
    aten.softplus_backward.default: _softplus_backward,
    aten.sum.default: _sum,
    aten.sum.dim_IntList: _sum,
    aten.mean.default: _mean,
    aten.mean.dim: _mean,
    aten.amax.default: _amax,
    aten.logsumexp.default: logsumexp,
    aten._log_softmax.default: _log_softmax,
    aten._softmax.default: _softmax,
    aten._log_softmax_backward_data.default: _log_softmax_backward,
    aten._softmax_backward_data.default: _softmax_backward,
    aten.pow.Tensor_Scalar: _power,
    aten.pow.Tensor_Tensor: lambda base, power: pointwise(
        "pow_({0}, {1})", base, power, price=2 * SLOW
    ),
    aten.clamp.default: _clamp,
    aten.leaky_relu.default: _leaky_relu,
    aten.elu.default: _elu,
    aten.elu_backward.default: _elu_backward,
    aten.silu_backward.default: _silu_backward,
    aten.xlogy.Tensor: _xlogy,
    aten.xlogy.Scalar_Self: _xlogy,
    aten.xlogy.Scalar_Other: _xlogy,
    aten.binary_cross_entropy_with_logits.default: _cross_entropy,
    aten.triu.default: lambda base, offset=0: views.triangle(base, ">=", offset),
    aten.tril.default: lambda base, offset=0: views.triangle(base, "<=", offset),
    aten.diagonal.default: views.diagonal,
    aten.diag_embed.default: views.on_diagonal,
    aten.diagonal_backward.default: views.diagonal_backward,
    aten.linalg_vector_norm.default: _norm,
    aten.new_zeros.default: lambda like, shape, **named: _number(shape, 0, like, **named),
    aten.new_ones.default: lambda like, shape, **named: _number(shape, 1, like, **named),
    aten.new_full.default: lambda like, shape, fill, **named: _number(shape, fill, like, **named),
    aten.where.self: _where,
    aten.where.ScalarSelf: _where,
    aten.where.ScalarOther: _where,
    aten.masked_fill.Scalar: _masked_fill,
    aten.zeros_like.default: lambda like, **_: _filled(like, 0),
    aten.ones_like.default: lambda like, **_: _filled(like, 1),
    aten.full_like.default: _filled,
    aten.fill.Scalar: _filled,
    aten.copy.default: _copied,
    aten.empty_like.default: lambda like, **_: _filled(like, 0),  # whatever is in it
}
