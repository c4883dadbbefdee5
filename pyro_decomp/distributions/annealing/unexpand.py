"""Distributions that a plate expanded, with one entry for each that differs (internal)."""

import torch
from pyro.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal
from torch import Tensor, distributions


def without_repeats(p: MixtureSameFamily) -> MixtureSameFamily:
    """The mixture with size 1 along each batch dimension along which it only repeats itself.

    ``expand`` repeats parameters without a copy, with stride 0, and that is how it is recognised.

    Args:
        p: A mixture; one whose components are of a family not known here is returned as it is.
    """
    parts = _parts(p)
    if parts is None:
        return p
    dims = [
        dim
        for dim in range(-len(p.batch_shape), 0)
        if all(_repeats(tensor, dim - inner) for tensor, inner in parts)
    ]
    return _narrowed(p, dims) if dims else p


def _parts(p: distributions.Distribution) -> list[tuple[Tensor, int]] | None:
    """Every parameter, and how many of its dimensions come after the batch of the mixture."""
    if isinstance(p, distributions.MixtureSameFamily):
        weights, components = _parts(p.mixture_distribution), _parts(p.component_distribution)
        if weights is None or components is None:
            return None
        return weights + [(tensor, inner + 1) for tensor, inner in components]
    if isinstance(p, distributions.Independent):
        base = _parts(p.base_dist)
        n = p.reinterpreted_batch_ndims
        return base and [(tensor, inner + n) for tensor, inner in base]
    names = _names(p)
    return [(getattr(p, n), p.arg_constraints[n].event_dim) for n in names] if names else None


def _narrowed(p: distributions.Distribution, dims: list[int]) -> distributions.Distribution:
    if isinstance(p, distributions.MixtureSameFamily):
        weights = _narrowed(p.mixture_distribution, dims)
        components = _narrowed(p.component_distribution, [dim - 1 for dim in dims])
        return MixtureSameFamily(weights, components)
    if isinstance(p, distributions.Independent):
        n = p.reinterpreted_batch_ndims
        return Independent(_narrowed(p.base_dist, [dim - n for dim in dims]), n)
    family = MultivariateNormal if isinstance(p, distributions.MultivariateNormal) else type(p)
    narrowed = {}
    for name in _names(p):
        tensor = getattr(p, name)
        for dim in dims:
            tensor = _first(tensor, dim - p.arg_constraints[name].event_dim)
        narrowed[name] = tensor
    return family(**narrowed)


def _names(p: distributions.Distribution) -> list[str]:
    """The arguments that build ``p`` again."""
    if isinstance(p, distributions.MultivariateNormal):
        return ["loc", "scale_tril"]
    if isinstance(p, Categorical | distributions.Categorical):
        return ["logits" if "logits" in vars(p) else "probs"]
    known = all(isinstance(vars(p).get(name), Tensor) for name in p.arg_constraints)
    return list(p.arg_constraints) if known else []


def _repeats(tensor: Tensor, dim: int) -> bool:
    return tensor.dim() < -dim or tensor.shape[dim] == 1 or tensor.stride(dim) == 0


def _first(tensor: Tensor, dim: int) -> Tensor:
    return tensor if tensor.dim() < -dim else torch.narrow(tensor, dim, 0, 1)
