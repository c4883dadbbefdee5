"""Distributions without their wrappers, and log densities at any value (internal)."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro.distributions import (
    Delta,
    Distribution,
    MaskedDistribution,
    OneHotCategoricalStraightThrough,
    RelaxedBernoulliStraightThrough,
    RelaxedOneHotCategoricalStraightThrough,
    constraints,
)
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.distributions.util import broadcast_shape, scale_and_mask, sum_rightmost
from torch import Tensor, nn
from torch.distributions import Independent, TransformedDistribution, transform_to

STRAIGHT_THROUGH = (
    OneHotCategoricalStraightThrough,
    RelaxedBernoulliStraightThrough,
    RelaxedOneHotCategoricalStraightThrough,
)


def unwrapped(fn: Distribution) -> Any:
    """A distribution without what declares, masks or expands its dimensions."""
    base: Any = fn
    while isinstance(base, Independent | MaskedDistribution | ExpandedDistribution):
        base = base.base_dist
    return base


def unmasked(fn: Distribution) -> Distribution:
    """A distribution without the mask of its data, which says nothing of its density elsewhere."""
    while isinstance(fn, MaskedDistribution):
        fn = fn.base_dist
    return fn


def stripped(fn: Distribution) -> Any:
    """A distribution without what declares its dimensions, inside of ``Independent``."""
    base: Any = fn
    while isinstance(base, Independent):
        base = base.base_dist
    return base


def is_factorised(fn: Distribution) -> bool:
    """Whether the dimensions are independent of one another by construction."""
    return len(stripped(fn).event_shape) == 0


def family(fn: Distribution) -> str:
    """The name of a distribution's family, without its wrappers."""
    return type(unwrapped(fn)).__name__


def family_without_density(fn: Distribution) -> str | None:
    """The name of a family that has no density at values that it did not draw; None for others.

    The values of a Delta have probability one, and q(z) is a set of points. A straight-through
    family draws discrete values that carry the gradients of others: ``log_prob`` is the density of
    those others, or has no gradient by the value.
    """
    base: Any = fn
    while isinstance(base, torch.distributions.Distribution):
        if isinstance(base, (Delta, *STRAIGHT_THROUGH)) or (
            base.has_rsample and _is_discrete(base)
        ):
            return type(base).__name__
        base = getattr(base, "base_dist", None)
    return None


def why_no_density(sites: Mapping[str, Distribution]) -> str:
    """Why q(z) over these sites of a guide cannot be scored; empty where it can be."""
    for name, fn in sites.items():
        if family := family_without_density(fn):
            return f"the guide's site '{name}' is a {family}, of which q(z) has no density"
    return ""


def log_density(
    fn: Distribution,
    value: Tensor,
    log_prob: Callable[[Distribution, Tensor], Tensor] | None = None,
) -> Tensor:
    """Log p(value), in nats, which outside of the support is minus infinity, with gradients of 0.

    ``fn.log_prob`` raises there where distributions are validated; where they are not, it is NaN
    or the formula's value, as if the support had no end, for most families. The support may differ
    from one entry of the batch to another, as that of Uniform(loc, loc + 1) does.

    Args:
        fn: The distribution.
        value: Broadcasts with its draws.
        log_prob: What to call for values in the support; ``fn.log_prob`` by default.

    Returns:
        The log densities, of the batch shape.
    """
    if isinstance(fn, Independent):
        inner = log_density(fn.base_dist, value, log_prob)
        return sum_rightmost(inner, fn.reinterpreted_batch_ndims)
    if isinstance(fn, MaskedDistribution) and fn._mask is not False:
        inner = log_density(fn.base_dist, value, log_prob)
        return inner if fn._mask is True else scale_and_mask(inner, mask=fn._mask)
    if isinstance(fn, ExpandedDistribution):
        inner = log_density(fn.base_dist, value, log_prob)
        return inner.expand(broadcast_shape(inner.shape, fn.batch_shape))
    if isinstance(fn, STRAIGHT_THROUGH):
        value = getattr(value, "_unquantize", value)  # the draw whose density it is
    point = _point_inside(fn, value) if is_bounded(fn) else None
    if point is None:
        return fn.log_prob(value) if log_prob is None else log_prob(fn, value)
    within = is_inside(fn, value)
    event = within.reshape(within.shape + (1,) * len(fn.event_shape))
    safe = torch.where(event, value, point)
    scored = without_validation(fn).log_prob(safe) if log_prob is None else log_prob(fn, safe)
    return torch.where(within, scored, -math.inf)


def log_sum_exp(x: Tensor) -> Tensor:
    """Log sum exp over the last dimension; -inf, with gradients of 0, where all entries are."""
    is_zero = (x == -math.inf).all(-1, keepdim=True)
    return x.masked_fill(is_zero, 0.0).logsumexp(-1).masked_fill(is_zero.squeeze(-1), -math.inf)


@torch.no_grad()
def is_inside(fn: Distribution, value: Tensor) -> Tensor:
    """Whether values lie in the support: a truth value for each entry of their batch.

    Raises:
        NotImplementedError: The family does not say what its support is.
    """
    if isinstance(fn, Independent | MaskedDistribution | ExpandedDistribution):
        inside = is_inside(fn.base_dist, value)
    elif _is_plain_transformed(fn):
        inside = torch.ones((), dtype=torch.bool, device=value.device)
        last = value
        for transform in reversed(fn.transforms):
            inside = inside & _of_batch(fn, value, _check(transform.codomain, last))
            last = transform.inv(last)
        inside = inside & _of_batch(fn, value, is_inside(fn.base_dist, last))
    else:
        inside = _check(fn.support, value)
    return _of_batch(fn, value, inside)


def without_validation(fn: Any) -> Any:
    """A shallow copy of a distribution that does not check values."""
    plain = copy.copy(fn)
    plain._validate_args = False
    if isinstance(getattr(fn, "base_dist", None), torch.distributions.Distribution):
        plain.base_dist = without_validation(fn.base_dist)
    return plain


def _of_batch(fn: Distribution, value: Tensor, inside: Tensor) -> Tensor:
    """Whether values are inside in all dimensions of an event that are left."""
    rest = inside.dim() - (value.dim() - len(fn.event_shape))
    return inside.flatten(-rest).all(-1) if rest > 0 else inside


def _check(support: Any, value: Tensor) -> Tensor:
    # Draws in float32 are further from a surface than torch and Pyro allow.
    if support is constraints.simplex:
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < 1e-4)
    if support is constraints.sphere:
        return (value.square().sum(-1) - 1).abs() < 1e-4
    inside: Tensor = support.check(value)
    return inside


def is_bounded(fn: Distribution) -> bool:
    """Whether there are values outside of the support, as far as is known."""
    if isinstance(fn, Independent | MaskedDistribution | ExpandedDistribution):
        return is_bounded(fn.base_dist)
    if _is_plain_transformed(fn):
        if any(isinstance(transform, nn.Module) for transform in fn.transforms):
            return False  # a flow is run once, and may not have an inverse
        ends = any(not _is_everywhere(transform.codomain) for transform in fn.transforms)
        return ends or is_bounded(fn.base_dist)
    try:
        return not _is_everywhere(fn.support)
    except (NotImplementedError, AttributeError):
        return False


def _point_inside(fn: Distribution, value: Tensor) -> Tensor | None:
    """A value in the support of each entry of the batch, without gradients; None if not known."""
    with torch.no_grad():
        if isinstance(fn, Independent | MaskedDistribution | ExpandedDistribution):
            inner = _point_inside(fn.base_dist, value)
            return inner if inner is None else inner.expand(fn.batch_shape + fn.event_shape)
        if _is_plain_transformed(fn):
            point = _point_inside(fn.base_dist, value)
            for transform in fn.transforms if point is not None else ():
                point = transform(point)
            return point
        try:
            to_support = transform_to(fn.support)
        except NotImplementedError:
            return None
        batch = (1,) * len(fn.batch_shape) if _is_constant(fn.support) else fn.batch_shape
        shape = to_support.inverse_shape((*batch, *fn.event_shape))
        return to_support(torch.zeros(shape, dtype=value.dtype, device=value.device))


def _is_plain_transformed(fn: Distribution) -> bool:
    """Whether it is of torch's general class, whose ``support`` is not that of its base mapped."""
    return (
        isinstance(fn, TransformedDistribution)
        and type(fn).support is TransformedDistribution.support
    )


def _is_everywhere(support: Any) -> bool:
    if isinstance(support, constraints.independent):
        return _is_everywhere(support.base_constraint)
    return isinstance(support, type(constraints.real))


def _is_constant(support: Any) -> bool:
    if isinstance(support, constraints.independent):
        return _is_constant(support.base_constraint)
    return not any(isinstance(value, Tensor | list | tuple) for value in vars(support).values())


def _is_discrete(fn: Distribution) -> bool:
    try:
        return bool(fn.support.is_discrete)
    except (NotImplementedError, AttributeError):
        return False
