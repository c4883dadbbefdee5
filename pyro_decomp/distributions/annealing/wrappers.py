"""Distributions made of another: annealed through it."""

import pyro.distributions as dist
from pyro.distributions import MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.distributions.util import scale_and_mask, sum_rightmost
from torch import distributions

from pyro_decomp.distributions.annealing.registry import (
    Annealed,
    Power,
    annealed_with_normalizer,
    is_one,
    register_annealed,
)


@register_annealed(distributions.Independent)
def _independent(p: dist.Independent, beta: Power) -> Annealed:
    """The product of the annealed factors; log F_beta is the sum of theirs."""
    f, log_f = annealed_with_normalizer(p.base_dist, beta)
    n = p.reinterpreted_batch_ndims
    return f.to_event(n), sum_rightmost(log_f, n)


@register_annealed(ExpandedDistribution)
def _expanded(p: ExpandedDistribution, beta: Power) -> Annealed:
    f, log_f = annealed_with_normalizer(p.base_dist, beta)
    return f.expand(p.batch_shape), log_f.expand(p.batch_shape)


@register_annealed(MaskedDistribution)
def _masked(p: MaskedDistribution, beta: Power) -> Annealed:
    """Masked as before; log F_beta is 0 where log p is."""
    f, log_f = annealed_with_normalizer(p.base_dist, beta)
    return f.mask(p._mask), scale_and_mask(log_f, mask=p._mask).expand(p.batch_shape)


@register_annealed(dist.MixtureOfDiagNormals)
def _mixture_of_diag_normals(p: dist.MixtureOfDiagNormals, beta: Power) -> Annealed:
    """As the same mixture in torch's own form."""
    components = dist.Normal(p.locs, p.coord_scale).to_event(1)
    f, log_f = annealed_with_normalizer(
        dist.MixtureSameFamily(dist.Categorical(logits=p.component_logits), components), beta
    )
    return (p if is_one(beta) else f), log_f
