"""Operations on numbers at the same index, as C expressions."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from pyro_decomp.acceleration.fusion.refusal import FusionError
from pyro_decomp.acceleration.fusion.values import FLOATING, Kind, Number, Value, literal, promoted
from pyro_decomp.acceleration.fusion.views import converted, pointwise

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


def value_of(given: Any) -> Value:
    """A Python number as a value."""
    if isinstance(given, Value):
        return given
    kind: Kind = "real" if isinstance(given, float) else "int64_t"
    if isinstance(given, bool):
        kind = "bool"
    return Number((), kind, literal(given, kind))


def kind_of_dtype(dtype: torch.dtype) -> Kind:
    """The C type of a dtype that an operation is asked for.

    Raises:
        FusionError: It is not written.
    """
    kinds: dict[torch.dtype, Kind] = {torch.bool: "bool", torch.int64: "int64_t"}
    if dtype not in (*kinds, torch.float32, torch.float64):
        raise FusionError(f"tensors of {dtype} are not written as C")
    return kinds.get(dtype, "real")


def _real(template: str, price: int, *given: Any) -> Value:
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


def _power(base: Value, exponent: float) -> Value:
    if base.kind not in FLOATING:
        raise FusionError("a power of integers is not written as C")
    if exponent in _POWERS:
        template, price = _POWERS[exponent]
        return pointwise(template, base, price=price)
    return pointwise("pow_({0}, {1})", base, value_of(float(exponent)), price=2 * SLOW)


def _xlogy(base: Any, other: Any) -> Value:
    base, other = value_of(base), value_of(other)
    log = pointwise("log_({0})", other, price=SLOW)
    return pointwise("({0} == 0 && {1} == {1} ? 0 : {0} * {2})", base, other, log)


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


def _converted(base: Value, dtype: torch.dtype | None = None, **_: Any) -> Value:
    return base if dtype is None else converted(base, kind_of_dtype(dtype))


def _from_tables() -> dict[Any, Operation]:
    found: dict[Any, Operation] = {}
    for target, template in _ARITHMETIC.items():
        found[target] = partial(_arithmetic, template)
    for target, (template, price) in _REAL.items():
        found[target] = partial(_real, template, price)
    for target, template in _BOOL.items():
        found[target] = partial(_compared, template)
    return found


def _compared(template: str, *given: Any) -> Value:
    return pointwise(template, *map(value_of, given), kind="bool")


ARITHMETIC: dict[Any, Operation] = {
    **_from_tables(),
    aten.add.Tensor: _add,
    aten.add.Scalar: _add,
    aten.sub.Tensor: _subtract,
    aten.sub.Scalar: _subtract,
    aten.rsub.Tensor: _subtract_from,
    aten.rsub.Scalar: _subtract_from,
    aten.bitwise_not.default: _of_bools("(!{0})"),
    aten.bitwise_and.Tensor: _of_bools("({0} && {1})"),
    aten.bitwise_or.Tensor: _of_bools("({0} || {1})"),
    aten._to_copy.default: _converted,
    aten.pow.Tensor_Scalar: _power,
    aten.pow.Tensor_Tensor: lambda base, power: pointwise(
        "pow_({0}, {1})", base, power, price=2 * SLOW
    ),
    aten.clamp.default: _clamp,
    aten.xlogy.Tensor: _xlogy,
    aten.xlogy.Scalar_Self: _xlogy,
    aten.xlogy.Scalar_Other: _xlogy,
    aten.where.self: _where,
    aten.where.ScalarSelf: _where,
    aten.where.ScalarOther: _where,
    aten.masked_fill.Scalar: _masked_fill,
}
