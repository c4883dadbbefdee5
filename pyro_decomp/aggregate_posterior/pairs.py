"""Mixtures of encodings of any family, scored over pairs a block of samples at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from pyro.distributions import Distribution
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pyro_decomp.aggregate_posterior.estimators import PairWeights
from pyro_decomp.aggregate_posterior.families import is_flow, log_prob_of_pairs
from pyro_decomp.aggregate_posterior.gaussian_torch import BLOCK
from pyro_decomp.distributions.densities import is_factorised, log_density, log_sum_exp


@dataclass(frozen=True)
class Site:
    """The encodings at one latent site.

    Attributes:
        fn: Their distribution.
        axis: The data's (negative) dimension in its draws.
        single: The distribution of each dimension by itself, if that is wanted.
    """

    fn: Distribution
    axis: int
    single: Distribution | None = None

    def pairs(self, z: Tensor) -> tuple[Float[Tensor, "s m"], Float[Tensor, "d s m"] | None]:
        """Log densities over pairs of the whole site and, if wanted, of each dimension."""
        single = None if self.single is None else _pairs(self.single, z, self.axis)
        if single is not None and is_factorised(self.fn):
            return single.sum(0), single
        return _pairs(self.fn, z, self.axis).sum(0), single


def log_densities(
    sites: Sequence[Site], values: Sequence[Tensor], weights: PairWeights
) -> Float[Tensor, "j s"]:
    """Log densities of the mixture: jointly, then of each site if they are several, then single.

    Only the joint one is given where the sites' ``single`` is not set.
    """

    def score(first: int, *block: Tensor) -> Tensor:
        scored = [site.pairs(z) for site, z in zip(sites, block, strict=True)]
        each = torch.stack([pairs for pairs, _ in scored])
        wanted = [each.sum(0, keepdim=True)]
        singles = [single for _, single in scored if single is not None]
        if singles and len(sites) > 1:
            wanted.append(each)
        pairs = weights.add_(torch.cat([*wanted, *singles]), first)
        return log_sum_exp(pairs) + weights.other

    height = max(1, BLOCK // sum(site.fn.shape().numel() for site in sites))
    return in_blocks(score, values, [site.axis for site in sites], height)


def in_blocks(
    score: Callable[..., Tensor], values: Sequence[Tensor], axes: Sequence[int], height: int
) -> Tensor:
    """Score samples a block at a time, each formed again for its gradient instead of kept.

    Args:
        score: ``score(first, *block)`` of some samples, the first of them number ``first``; its
            last dimension is theirs.
        values: Values of every site.
        axes: The samples' dimension in each of them.
        height: How many samples make a block.

    Returns:
        The scores of all samples, along the last dimension.
    """
    total = values[0].shape[axes[0]]
    if height >= total:
        return score(0, *values)
    splits = (z.split(height, axis) for z, axis in zip(values, axes, strict=True))
    blocks = zip(range(0, total, height), *splits, strict=True)
    again = partial(checkpoint, score, use_reentrant=False, preserve_rng_state=False)
    return torch.cat([again(*block) for block in blocks], -1)


def _pairs(fn: Distribution, z: Tensor, axis: int) -> Float[Tensor, "_ s m"]:
    """Log density of every sample under every datum, for all other batch dimensions of ``fn``."""
    samples = z.movedim(axis, 0).unsqueeze(axis)
    log_prob = log_density(fn, samples, log_prob_of_pairs if is_flow(fn) else None)
    pairs = log_prob.movedim((0, axis + len(fn.event_shape)), (-2, -1))
    return pairs.reshape(-1, *pairs.shape[-2:])
