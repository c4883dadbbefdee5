"""Distributions of some of the data, or of several batches of them, made from their parameters.

This module is internal.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from pyro.distributions import Delta, Distribution, MaskedDistribution, MixtureSameFamily
from torch import Tensor
from torch.distributions import Independent

Combine = Callable[[Sequence[Tensor], int], Tensor]
"""One tensor made of several, along an axis."""


def joined(several: Sequence[Tensor], axis: int) -> Tensor:
    """Tensors after one another, a rule for :func:`combined`."""
    return torch.cat([*several], axis)


def picked(places: Int[Tensor, " s"]) -> Combine:
    """A rule for :func:`combined` that takes these places of one distribution, in this order."""
    return lambda several, axis: several[0].index_select(axis, places.to(several[0].device))


def combined(fns: Sequence[Any], combine: Combine, dim: int) -> Distribution | None:
    """A distribution of the family of several, its parameters combined along a batch dimension.

    Args:
        fns: Distributions of one family and shape, but for that dimension.
        combine: Makes one parameter of those of all of them, expanded to their batch shapes.
        dim: The (negative) batch dimension.

    Returns:
        The distribution; None where it cannot be made from the family's parameters.
    """
    kind, first = type(fns[0]), fns[0]
    if any(type(fn) is not kind for fn in fns) or len(first.batch_shape) < -dim:
        return None
    if isinstance(first, Independent):
        depth = first.reinterpreted_batch_ndims
        base = combined([fn.base_dist for fn in fns], combine, dim - depth)
        return base and kind(base, depth)
    if isinstance(first, MaskedDistribution):
        base = combined([fn.base_dist for fn in fns], combine, dim)
        mask = first._mask
        if isinstance(mask, Tensor):
            mask = combine([fn._mask.expand(fn.batch_shape) for fn in fns], dim)
        return base and kind(base, mask)
    if isinstance(first, MixtureSameFamily):
        weights = combined([fn.mixture_distribution for fn in fns], combine, dim)
        components = combined([fn.component_distribution for fn in fns], combine, dim - 1)
        return weights and components and kind(weights, components)
    names = [name for name in first.arg_constraints if name in vars(first)]
    names = names or [*first.arg_constraints]
    if {"probs", "logits"} <= set(names):  # torch keeps one that it was asked for beside the other
        names.remove("probs")
    settings = {"event_dim": first.event_dim} if isinstance(first, Delta) else {}
    try:
        return kind(**{name: _parameter(fns, name, combine, dim) for name in names}, **settings)
    except (AttributeError, NotImplementedError, RuntimeError, TypeError, ValueError):
        return None  # it is made from something else


def _parameter(fns: Sequence[Any], name: str, combine: Combine, dim: int) -> Tensor:
    """One parameter of several distributions, of every datum and dimension."""
    first = fns[0]
    event_dim = 0 if isinstance(first, Delta) else first.arg_constraints[name].event_dim
    if isinstance(first, Delta) and name == "v":
        event_dim = first.event_dim
    values = [getattr(fn, name) for fn in fns]
    whole = [
        value.expand(*fn.batch_shape, *value.shape[value.dim() - event_dim :])
        for value, fn in zip(values, fns, strict=True)
    ]
    return combine(whole, dim - event_dim)
