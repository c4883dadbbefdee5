"""Activations of networks, and losses that are made like them, as C expressions.

Each function has an expression of its own: inside of ``?:`` it would not be called for vectors.
"""

from typing import Any

import torch

from pyro_decomp.acceleration.fusion.arithmetic import SLOW, Operation, value_of
from pyro_decomp.acceleration.fusion.refusal import FusionError
from pyro_decomp.acceleration.fusion.values import Value
from pyro_decomp.acceleration.fusion.views import pointwise

aten = torch.ops.aten


def _softplus(base: Value, beta: float = 1, threshold: float = 20) -> Value:
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


def _leaky_relu(base: Value, slope: float = 0.01) -> Value:
    return pointwise("({0} > 0 ? {0} : {0} * {1})", base, value_of(float(slope)))


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


ACTIVATIONS: dict[Any, Operation] = {
    aten.softplus.default: _softplus,
    aten.softplus_backward.default: _softplus_backward,
    aten.leaky_relu.default: _leaky_relu,
    aten.elu.default: _elu,
    aten.elu_backward.default: _elu_backward,
    aten.silu_backward.default: _silu_backward,
    aten.binary_cross_entropy_with_logits.default: _cross_entropy,
}
