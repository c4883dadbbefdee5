"""What torch's operations compute, as values: one table by the names of the operations.

A row is C expressions of the operation's arguments, in torch's order, or a function that takes them
by torch's names, with a :class:`Value` in place of every tensor.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from pyro_decomp.acceleration.errors import FusionError
from pyro_decomp.acceleration.fusion import views
from pyro_decomp.acceleration.fusion.reductions import REDUCTIONS
from pyro_decomp.acceleration.fusion.values import (
    FLOATING,
    Kind,
    Number,
    Value,
    computed,
    converted,
    expanded,
    literal,
    promoted,
    value_of,
    viewed,
)

aten = torch.ops.aten
Operation = Callable[..., Value | list[Value]]

# Expressions separated by ";" are computed one after another: {0} is the first argument, and after
# the last one comes the result of the first expression. Each function has an expression of its
# own: inside of ``?:`` it would not be called for vectors.
_OF_ANY_KIND = {  # of integers they are integers
    "mul": "{0} * {1}",
    "neg": "-{0}",
    "square": "{0} * {0}",
    "relu": "{0} <= 0 ? 0 : {0}",
    "clamp_min": "{1} != {1} || {0} < {1} ? {1} : {0}",
    "clamp_max": "{1} != {1} || {0} > {1} ? {1} : {0}",
    "threshold_backward": "{1} <= {2} ? 0 : {0}",
}
_REAL = {
    **{name: name + "_({0})" for name in ("exp", "expm1", "log", "log1p", "sin", "cos", "tanh")},
    **{name: name + "_({0})" for name in ("erf", "lgamma", "sqrt", "rsqrt")},
    "abs": "fabs_({0})",
    "div": "{0} / {1}",
    "reciprocal": "1 / {0}",
    "sgn": "sign({0})",
    "sign": "sign({0})",
    "maximum": "largest({0}, {1})",
    "minimum": "smallest({0}, {1})",
    "sigmoid": "1 / (1 + exp_(-{0}))",
    "sigmoid_backward": "{0} * (1 - {1}) * {1}",
    "silu": "{0} / (1 + exp_(-{0}))",
    "silu_backward": "1 / (1 + exp_(-{1})); {0} * {2} * (1 + {1} * (1 - {2}))",
    "tanh_backward": "{0} * (1 - {1} * {1})",
    "leaky_relu": "{0} > 0 ? {0} : {0} * {1}",
    "elu": "{1} * expm1_({0} * {3}); {2} * ({0} > 0 ? {0} : {4})",
    "softplus": "{0} * {1}; exp_({3}); log1p_({4}) / {1}; {3} > {2} ? {0} : {5}",
    "softplus_backward": "{1} * {2}; 1 / (1 + exp_(-{4})); {4} > {3} ? {0} : {0} * {5}",
    "xlogy": "log_({1}); {0} == 0 && {1} == {1} ? 0 : {0} * {2}",
}
_BOOL = {
    **{"eq": "{0} == {1}", "ne": "{0} != {1}", "lt": "{0} < {1}", "le": "{0} <= {1}"},
    **{"gt": "{0} > {1}", "ge": "{0} >= {1}"},
    **{"logical_not": "!{0}", "logical_and": "{0} && {1}", "logical_or": "{0} || {1}"},
    "isnan": "{0} != {0}",
}
_POWERS = {
    0.5: "sqrt_({0})",
    1: "{0}",
    2: "{0} * {0}",
    3: "{0} * {0} * {0}",
    -1: "1 / {0}",
    -2: "1 / ({0} * {0})",
}
# Views are asked of torch, for a tensor without numbers in place of the value.
VIEWS = frozenset(
    [
        *("alias", "detach", "t", "transpose", "permute", "expand", "unsqueeze", "squeeze"),
        *("select", "slice", "unbind", "split", "split_with_sizes", "diagonal"),
        *("view", "_unsafe_view", "reshape"),
    ]
)


def applied(target: Any, args: Sequence[Any], named: Mapping[str, Any]) -> Any:
    """What an operation of torch's gives: a value, or a list of them.

    Raises:
        FusionError: It is not written as C, or not for such arguments.
    """
    schema: Any = getattr(target, "_schema", None)
    name = schema.name.removeprefix("aten::") if schema else ""
    try:
        if name in VIEWS:
            return viewed(target, *args, **named)
        if name in OPERATIONS:
            given = {each.name: value for each, value in zip(schema.arguments, args, strict=False)}
            given |= named
            for each in schema.arguments:
                given.setdefault(each.name, each.default_value)
            return OPERATIONS[name](**given)
    except (TypeError, ValueError, AttributeError, LookupError, RuntimeError) as error:
        raise FusionError(f"{target} as it is used here") from error  # a form that is not known
    raise FusionError(f"{target} is not written as C")


def _of_text(text: str, kind: Kind | None, **given: Any) -> Value:
    """A row of expressions; without a kind the result has that of what it is computed from."""
    values = [value_of(each) for each in given.values()]
    if any(f"{{{place}}}" not in text for place in range(len(values))):
        raise TypeError("an argument that the expressions do not read")
    if kind == "real" and all(value.kind not in FLOATING for value in values):
        values = [converted(value, "real") for value in values]
    return computed(text, *values, kind=kind or promoted(*(value.kind for value in values)))


def _add(self: Any, other: Any, alpha: float, text: str = "{0} + {1}") -> Value:
    other = other if alpha == 1 else _of_text("{0} * {1}", None, self=other, other=alpha)
    return _of_text(text, None, self=self, other=other)


def _bitwise(text: str, **given: Any) -> Value:
    if any(value_of(each).kind != "bool" for each in given.values()):
        raise FusionError("operations on the bits of integers are not written as C")
    return _of_text(text, "bool", **given)


def _pow(self: Any, exponent: Any) -> Value:
    if FLOATING.isdisjoint({value_of(self).kind, value_of(exponent).kind}):
        raise FusionError("a power of integers is not written as C")
    if not isinstance(exponent, Value) and exponent in _POWERS and self.kind in FLOATING:
        return computed(_POWERS[exponent], self)
    return computed("pow_({0}, {1})", self, exponent)


def _clamp(self: Value, min: Any, max: Any) -> Value:  # noqa: A002
    for name, limit in (("clamp_min", min), ("clamp_max", max)):
        if limit is not None:
            self = _of_text(_OF_ANY_KIND[name], None, self=self, limit=limit)
    return self


def _where(condition: Value, self: Any, other: Any) -> Value:
    kind = promoted(value_of(self).kind, value_of(other).kind)
    return computed("{0} ? {1} : {2}", condition, self, other, kind=kind)


def _elu_backward(
    *,
    grad_output: Value,
    alpha: float,
    scale: float,
    input_scale: float,
    is_result: bool,
    self_or_result: Value,
) -> Value:
    if is_result or input_scale != 1:
        raise FusionError("this form of the gradient of elu is not written as C")
    text = "{2} * exp_({1}); {0} * {3} * ({1} > 0 ? 1 : {4})"
    return computed(text, grad_output, self_or_result, alpha, scale)


def _cross_entropy(
    self: Value, target: Value, weight: Any, pos_weight: Any, reduction: int
) -> Value:
    if weight is not None or pos_weight is not None or reduction != 0:
        raise FusionError("this form of cross entropy is not written as C")
    text = "exp_(-fabs_({0})); log1p_({2}); (1 - {1}) * {0} + {3} + ({0} < 0 ? -{0} : 0)"
    return computed(text, self, target)


def _to_copy(self: Value, dtype: torch.dtype | None, **_: Any) -> Value:
    return self if dtype is None else converted(self, _kind_of(dtype))


def _full(
    self: Value,
    fill_value: float,
    size: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    **_: Any,
) -> Value:
    kind = self.kind if dtype is None else _kind_of(dtype)
    shape = self.shape if size is None else tuple(size)
    return Number(shape, kind, literal(fill_value, kind))


def _kind_of(dtype: torch.dtype) -> Kind:
    kinds: dict[torch.dtype, Kind] = {torch.bool: "bool", torch.int64: "int64_t"}
    if dtype not in (*kinds, torch.float32, torch.float64):
        raise FusionError(f"tensors of {dtype} are not written as C")
    return kinds.get(dtype, "real")


OPERATIONS: Mapping[str, Operation] = {
    **{name: partial(_of_text, text, None) for name, text in _OF_ANY_KIND.items()},
    **{name: partial(_of_text, text, "real") for name, text in _REAL.items()},
    **{name: partial(_of_text, text, "bool") for name, text in _BOOL.items()},
    **REDUCTIONS,
    "add": _add,
    "sub": partial(_add, text="{0} - {1}"),
    "rsub": lambda self, other, alpha: _add(other, self, alpha, "{0} - {1}"),
    "bitwise_not": partial(_bitwise, "!{0}"),
    "bitwise_and": partial(_bitwise, "{0} && {1}"),
    "bitwise_or": partial(_bitwise, "{0} || {1}"),
    "pow": _pow,
    "clamp": _clamp,
    "where": _where,
    "masked_fill": lambda self, mask, value: _where(mask, _full(self, value), self),
    "leaky_relu_backward": lambda grad_output, self, negative_slope, self_is_result: computed(
        "{1} > 0 ? {0} : {0} * {2}", grad_output, self, negative_slope
    ),
    "elu_backward": _elu_backward,
    "binary_cross_entropy_with_logits": _cross_entropy,
    "_to_copy": _to_copy,
    "clone": lambda self, **_: self,
    "copy": lambda self, src, **_: converted(expanded(src, self.shape), self.kind),
    "new_zeros": partial(_full, fill_value=0),
    "new_ones": partial(_full, fill_value=1),
    "new_full": _full,
    "zeros_like": partial(_full, fill_value=0),
    "ones_like": partial(_full, fill_value=1),
    "empty_like": partial(_full, fill_value=0),  # whatever is in it
    "full_like": _full,
    "fill": lambda self, value: _full(self, fill_value=value),
    "repeat": views.repeated,
    "cat": views.concatenated,
    "stack": views.stacked,
    "gather": views.gathered,
    "slice_backward": views.slice_backward,
    "select_backward": views.select_backward,
    "triu": partial(views.triangle, sign=">="),
    "tril": partial(views.triangle, sign="<="),
    "diag_embed": views.diagonal_matrices,
    "diagonal_backward": views.diagonal_backward,
}
