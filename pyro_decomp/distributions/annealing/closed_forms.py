"""Closed forms of annealed densities and normalisers, of families and of wrappers (internal)."""

import math

import pyro.distributions as dist
import torch
from pyro.distributions import MaskedDistribution
from pyro.distributions.torch_distribution import ExpandedDistribution
from pyro.distributions.util import scale_and_mask, sum_rightmost
from torch import Tensor, distributions

from pyro_decomp.distributions.annealing.registry import (
    Annealed,
    Power,
    annealed_with_normalizer,
    is_one,
    log_power,
    register_annealed,
    require,
)
from pyro_decomp.distributions.generalized_normal import GeneralizedNormal


def _exponential_power(
    p: distributions.Distribution, beta: Power, order: float | Tensor, dim: int = 1
) -> Tensor:
    r"""Log F_beta of p(z) = p(m) exp(-d(z - m)) with d(c u) = c^r d(u).

    .. math:: \log F_\beta = (1 - \beta) (H[p] - D / r) - (D / r) \log\beta,

    since E_p[d] = D / r, so that H[p] - D / r = -log p(m). It does not depend on m.

    Args:
        p: The density.
        beta: The power.
        order: r.
        dim: D, the length of z.
    """
    ratio = dim / order
    return (1 - beta) * (p.entropy() - ratio) - ratio * log_power(beta)


@register_annealed(distributions.Normal)
def _normal(p: distributions.Normal, beta: Power) -> Annealed:
    """The annealed density is Normal(m, s / sqrt(beta))."""
    return dist.Normal(p.loc, p.scale / beta**0.5), _exponential_power(p, beta, 2)


@register_annealed(distributions.Laplace)
def _laplace(p: distributions.Laplace, beta: Power) -> Annealed:
    """The annealed density is Laplace(m, b / beta)."""
    return dist.Laplace(p.loc, p.scale / beta), _exponential_power(p, beta, 1)


@register_annealed(GeneralizedNormal)
def _generalized_normal(p: GeneralizedNormal, beta: Power) -> Annealed:
    """The annealed density is GeneralizedNormal(m, a beta^(-1/r), r)."""
    scale = p.scale * beta ** (-1 / p.power)
    return GeneralizedNormal(p.loc, scale, p.power), _exponential_power(p, beta, p.power)


@register_annealed(distributions.MultivariateNormal)
def _multivariate_normal(p: distributions.MultivariateNormal, beta: Power) -> Annealed:
    """The annealed density is Normal(m, S / beta)."""
    f = dist.MultivariateNormal(p.loc, scale_tril=p.scale_tril / beta**0.5)
    return f, _exponential_power(p, beta, 2, p.event_shape[0])


@register_annealed(distributions.LowRankMultivariateNormal)
def _low_rank_normal(p: distributions.LowRankMultivariateNormal, beta: Power) -> Annealed:
    """The annealed density is Normal(m, (W W' + diag(d)) / beta)."""
    f = dist.LowRankMultivariateNormal(p.loc, p.cov_factor / beta**0.5, p.cov_diag / beta)
    return f, _exponential_power(p, beta, 2, p.event_shape[0])


@register_annealed(distributions.HalfNormal)
def _half_normal(p: distributions.HalfNormal, beta: Power) -> Annealed:
    """The annealed density is HalfNormal(s / sqrt(beta))."""
    return dist.HalfNormal(p.scale / beta**0.5), _exponential_power(p, beta, 2)


@register_annealed(distributions.Exponential)
def _exponential(p: distributions.Exponential, beta: Power) -> Annealed:
    """The annealed density is Exponential(beta rate)."""
    return dist.Exponential(beta * p.rate), _exponential_power(p, beta, 1)


@register_annealed(distributions.Uniform)
def _uniform(p: distributions.Uniform, beta: Power) -> Annealed:
    """A Uniform is its own annealed density; F_beta = width^(1 - beta)."""
    return dist.Uniform(p.low, p.high), (1 - beta) * p.entropy()


@register_annealed(distributions.StudentT)
def _student_t(p: distributions.StudentT, beta: Power) -> Annealed:
    """The annealed density is StudentT(nu', m, s sqrt(nu / nu')) with nu' = beta (nu + 1) - 1.

    Raises:
        ArgumentError: nu' is not positive, so that p^beta has an infinite integral.
    """
    df = beta * (p.df + 1) - 1
    require(
        df > 0,
        lambda: (
            "expected beta (df + 1) > 1, or the tails of a Student-t to the power beta have an "
            f"infinite integral; got beta = {beta}, df = {p.df.min():.4g}"
        ),
    )
    f = dist.StudentT(df, p.loc, p.scale * (p.df / df).sqrt())
    half = torch.full_like(df, 0.5)
    unit = (1 - beta) * (p.scale.log() + p.df.log() / 2)
    return f, unit + _log_beta(half, df / 2) - beta * _log_beta(half, p.df / 2)


@register_annealed(distributions.LogNormal)
def _log_normal(p: distributions.LogNormal, beta: Power) -> Annealed:
    """The annealed density is LogNormal(m + (1 - beta) s^2 / beta, s / sqrt(beta))."""
    variance = p.scale.square() / beta
    f = dist.LogNormal(p.loc + (1 - beta) * variance, variance.sqrt())
    at_median = p.loc + p.scale.log() + math.log(2 * math.pi) / 2  # -log p(exp(m))
    log_f = (1 - beta) * at_median + (1 - beta) ** 2 * variance / 2 - log_power(beta) / 2
    return f, log_f


@register_annealed(distributions.Gamma)
def _gamma(p: distributions.Gamma, beta: Power) -> Annealed:
    """The annealed density is Gamma(beta (a - 1) + 1, beta rate).

    Raises:
        ArgumentError: The new concentration is not positive.
    """
    concentration = _concentration(p.concentration, beta)
    f = dist.Gamma(concentration, beta * p.rate)
    log_f = beta * (p.concentration * p.rate.log() - p.concentration.lgamma())
    return f, log_f + concentration.lgamma() - concentration * f.rate.log()


@register_annealed(distributions.Beta)
def _beta(p: distributions.Beta, beta: Power) -> Annealed:
    """The annealed density is Beta(beta (a - 1) + 1, beta (b - 1) + 1).

    Raises:
        ArgumentError: A new concentration is not positive.
    """
    old = (p.concentration1, p.concentration0)
    new = tuple(_concentration(each, beta) for each in old)
    return dist.Beta(*new), _log_beta(*new) - beta * _log_beta(*old)


@register_annealed(distributions.Categorical)
def _categorical(p: distributions.Categorical, beta: Power) -> Annealed:
    """The annealed density is a Categorical with logits beta log p."""
    return dist.Categorical(logits=beta * p.logits), (beta * p.logits).logsumexp(-1)


@register_annealed(distributions.OneHotCategorical)
def _one_hot_categorical(p: distributions.OneHotCategorical, beta: Power) -> Annealed:
    """The annealed density is a OneHotCategorical with logits beta log p."""
    return dist.OneHotCategorical(logits=beta * p.logits), (beta * p.logits).logsumexp(-1)


@register_annealed(distributions.Bernoulli)
def _bernoulli(p: distributions.Bernoulli, beta: Power) -> Annealed:
    """The annealed density is a Bernoulli with logit beta times the old."""
    log_p = torch.nn.functional.logsigmoid(torch.stack([p.logits, -p.logits]))
    return dist.Bernoulli(logits=beta * p.logits), (beta * log_p).logsumexp(0)


@register_annealed(distributions.Independent)
def _independent(p: dist.Independent, beta: Power) -> Annealed:
    """The annealed density is a product of annealed ones; log F_beta is the sum of theirs."""
    f, log_f = annealed_with_normalizer(p.base_dist, beta)
    n = p.reinterpreted_batch_ndims
    return f.to_event(n), sum_rightmost(log_f, n)


@register_annealed(ExpandedDistribution)
def _expanded(p: ExpandedDistribution, beta: Power) -> Annealed:
    f, log_f = annealed_with_normalizer(p.base_dist, beta)
    return f.expand(p.batch_shape), log_f.expand(p.batch_shape)


@register_annealed(MaskedDistribution)
def _masked(p: MaskedDistribution, beta: Power) -> Annealed:
    """The annealed density is masked as before; log F_beta is 0 where log p is."""
    f, log_f = annealed_with_normalizer(p.base_dist, beta)
    return f.mask(p._mask), scale_and_mask(log_f, mask=p._mask).expand(p.batch_shape)


@register_annealed(dist.MixtureOfDiagNormals)
def _mixture_of_diag_normals(p: dist.MixtureOfDiagNormals, beta: Power) -> Annealed:
    """The annealed density is that of the same mixture in torch's own form."""
    components = dist.Normal(p.locs, p.coord_scale).to_event(1)
    f, log_f = annealed_with_normalizer(
        dist.MixtureSameFamily(dist.Categorical(logits=p.component_logits), components), beta
    )
    return (p if is_one(beta) else f), log_f


def _concentration(concentration: Tensor, beta: Power) -> Tensor:
    new = beta * (concentration - 1) + 1
    require(
        new > 0,
        lambda: (
            "expected beta (concentration - 1) + 1 > 0, or the density to the power beta has an "
            f"infinite integral; got beta = {beta}, concentration = {concentration.min():.4g}"
        ),
    )
    return new


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return a.lgamma() + b.lgamma() - (a + b).lgamma()
