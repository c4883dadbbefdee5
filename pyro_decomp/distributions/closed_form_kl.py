"""Closed forms of KL(q || p): torch's, Pyro's, and those between Normals (internal)."""

import math

import torch
from pyro.distributions import (
    Delta,
    Distribution,
    LowRankMultivariateNormal,
    MaskedDistribution,
    MultivariateNormal,
    Normal,
)
from pyro.distributions.util import scale_and_mask, sum_rightmost
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_decomp.distributions.densities import stripped, unwrapped


def analytic_kl(q: Distribution, p: Distribution) -> Tensor | None:
    r"""Compute KL(q || p), in nats, where there is a closed form of it, else None.

    Beside the pairs that torch and Pyro register, a Normal of full or low-rank covariance S against
    a product of Normals over dimensions,

    .. math::
        KL = \frac{1}{2} \sum_d \Big[ \log(2 \pi s_d^2)
            + \frac{S_{dd} + (m_d - \mu_d)^2}{s_d^2} \Big] - H[q],

    and a product of Normals against one of low-rank covariance.

    None for a Delta: Pyro's closed form leaves out its ``log_density``, and log q - log p at its
    only value is exact.

    Args:
        q: With any batch shape that broadcasts with that of ``p``.
        p: With the event shape of ``q``.

    Returns:
        The KL, of the batch shape of both; None without a closed form.

    Example:
        >>> import pyro.distributions as dist
        >>> q = dist.MultivariateNormal(torch.zeros(2), torch.tensor([[1.0, 0.6], [0.6, 1.0]]))
        >>> analytic_kl(q, dist.Normal(torch.zeros(2), 1.0).to_event(1))  # -log(1 - 0.6^2) / 2
        tensor(0.2231)
    """
    if isinstance(unwrapped(q), Delta):
        return None
    try:
        kl = kl_divergence(q, p)
    except NotImplementedError:
        return _between_normals(q, p)
    return kl if isinstance(kl, Tensor) else None  # a number where both are masked out


def _between_normals(q: Distribution, p: Distribution) -> Tensor | None:
    if isinstance(q, MaskedDistribution) and isinstance(p, MaskedDistribution):
        kl = analytic_kl(q.base_dist, p.base_dist)
        return None if kl is None else scale_and_mask(kl, mask=q._mask & p._mask)
    inner, outer = stripped(q), stripped(p)
    if isinstance(inner, MultivariateNormal | LowRankMultivariateNormal) and _is_normal(outer):
        distance = (q.variance + (q.mean - p.mean).square()) / p.variance
        cross_entropy = (math.log(2 * math.pi) + p.variance.log() + distance) / 2
        return sum_rightmost(cross_entropy, q.event_dim) - q.entropy()
    if _is_normal(inner) and isinstance(p, LowRankMultivariateNormal):
        factor = torch.zeros_like(q.mean).unsqueeze(-1)
        return kl_divergence(LowRankMultivariateNormal(q.mean, factor, q.variance), p)
    return None


def _is_normal(fn: Distribution) -> bool:
    return type(fn) in {Normal, torch.distributions.Normal}  # a subclass may be something else
