"""Objectives as plain expressions of their papers, without a line of the package's own.

Each is the mean over a batch of what is maximised, one draw a particle, in the order in which the
package draws: the codes of all particles first, then what the divergence draws.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_decomp import divergences as of
from pyro_decomp.elbo import (
    DIPELBO,
    AggregateELBO,
    AnnealedPriorELBO,
    BetaELBO,
    CapacityELBO,
    EntropyRegularizedELBO,
    FactorELBO,
    InfoELBO,
    TermsELBO,
    TotalCorrelationELBO,
    WassersteinELBO,
)
from pyro_decomp.networks import Discriminator

NUM_DATA, LATENTS, PARTICLES, WIDTH = 200, 3, 3, 4
FAMILIES = ("normal", "laplace", "lognormal", "student", "full covariance", "low rank")
NORMAL = ("normal", "full covariance", "low rank")


class Programs:
    """A guide of a family, with a learned prior of its support.

    Args:
        family: One of ``FAMILIES``.
    """

    def __init__(self, family: str) -> None:
        torch.manual_seed(0)
        self.family = family
        self.encoder, self.decoder = nn.Linear(WIDTH, 12), nn.Linear(LATENTS, WIDTH)
        self.prior_loc = nn.Parameter(0.3 * torch.randn(LATENTS))

    def q(self, x: Tensor) -> dist.TorchDistribution:
        loc, unbounded, other = self.encoder(x).split([LATENTS, LATENTS, 6], -1)
        scale = (0.5 * unbounded - 0.7).exp()
        if self.family == "full covariance":
            below = 0.3 * torch.diag_embed(other[:, :2], -1)
            return dist.MultivariateNormal(loc, scale_tril=torch.diag_embed(scale) + below)
        if self.family == "low rank":
            return dist.LowRankMultivariateNormal(loc, 0.4 * other[:, :LATENTS, None], scale**2)
        if self.family == "student":
            return dist.StudentT(torch.full_like(loc, 5.0), loc, scale).to_event(1)
        kinds = {"normal": dist.Normal, "laplace": dist.Laplace, "lognormal": dist.LogNormal}
        return kinds[self.family](loc, scale).to_event(1)

    def marginals(self, x: Tensor) -> dist.TorchDistribution:
        """Densities of each dimension alone."""
        q = self.q(x)
        if self.family in ("full covariance", "low rank"):
            return dist.Normal(q.mean, q.variance.sqrt())
        return q.base_dist

    def prior(self) -> dist.TorchDistribution:
        kind = dist.LogNormal if self.family == "lognormal" else dist.Normal
        return kind(self.prior_loc, 1.1).to_event(1)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        return dist.Normal(self.decoder(z), 0.6).log_prob(x).sum(-1)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", dist.Normal(self.decoder(z), 0.6).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("z", self.q(x))

    def parameters(self) -> list[Tensor]:
        return [*self.encoder.parameters(), *self.decoder.parameters(), self.prior_loc]


class Plain:
    """A batch's draws, and the expressions that objectives are made of.

    Args:
        programs: The model and guide.
        x: The batch.
        analytic_kl: Whether closed forms are used where there are some.
    """

    def __init__(self, programs: Programs, x: Tensor, analytic_kl: bool) -> None:
        self.programs, self.x, self.analytic_kl = programs, x, analytic_kl
        self.q = programs.q(x)
        self.draws = [programs.q(x).rsample() for _ in range(PARTICLES)]
        self.log_likelihood = self.mean(lambda z: programs.log_likelihood(x, z).mean())
        self.kl = self._kl()
        self.elbo = self.log_likelihood - self.kl

    def mean(self, of_draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Over particles."""
        return torch.stack([of_draw(z) for z in self.draws]).mean()

    def _kl(self) -> Tensor:
        prior = self.programs.prior()
        if self.analytic_kl:
            try:
                expanded = prior.expand([len(self.x)])
                return torch.distributions.kl_divergence(self.q, expanded).mean()
            except NotImplementedError:
                pass
            if self.programs.family in NORMAL:
                loc, scale = prior.base_dist.loc, prior.base_dist.scale
                normal = torch.distributions.MultivariateNormal(loc, torch.diag(scale**2))
                own = torch.distributions.MultivariateNormal(self.q.mean, self.covariances())
                return torch.distributions.kl_divergence(own, normal).mean()
        return self.mean(lambda z: (self.q.log_prob(z) - prior.log_prob(z)).mean())

    def covariances(self) -> Tensor:
        if self.programs.family in ("full covariance", "low rank"):
            return self.q.covariance_matrix
        return torch.diag_embed(self.q.variance)

    def log_weights(self) -> Tensor:
        """Of the batch in the mean over all data, each datum's own beside the others'."""
        size = len(self.x)
        weights = torch.full((size, size), (NUM_DATA - 1) / (NUM_DATA * (size - 1)))
        return weights.fill_diagonal_(1 / NUM_DATA).log()

    def log_qz(self, z: Tensor) -> Tensor:
        return torch.logsumexp(self.q.log_prob(z[:, None]) + self.log_weights(), 1)

    def parts(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """MI, TC and DWKL of a draw (Chen et al. 2018, eq. 2)."""
        of_dims = self.programs.marginals(self.x).log_prob(z[:, None])
        product = torch.logsumexp(of_dims + self.log_weights()[..., None], 1).sum(-1)
        joint, prior = self.log_qz(z), self.programs.prior().log_prob(z)
        information = (self.q.log_prob(z) - joint).mean()
        return information, (joint - product).mean(), (product - prior).mean()

    def prior_draws(self, number: int) -> Tensor:
        size = len(self.x)
        rounds = -(-number // size)
        prior = self.programs.prior()
        return torch.cat([prior.expand([size]).rsample() for _ in range(rounds)])[:number]

    def covariance(self, kind: str) -> Tensor:
        """Of q(z) (II), or of the means (I): Kumar et al. 2018, with the batch's bias taken out."""
        mean = self.q.mean
        centred = mean - mean.mean(0)
        of_means = centred.T @ centred / (len(mean) - 1) * (NUM_DATA - 1) / NUM_DATA
        return of_means + (self.covariances().mean(0) if kind == "II" else 0)


def kernel(dim: int) -> Callable[[Tensor], Tensor]:
    """Inverse multiquadratics (Tolstikhin et al. 2018), of squared distances."""
    scales = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    return lambda r: sum(2 * dim * s / (2 * dim * s + r) for s in scales)


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased (Gretton et al. 2012, eq. 3)."""
    k = kernel(x.shape[1])

    def between(a: Tensor, b: Tensor) -> Tensor:
        return k((a[:, None] - b).square().sum(-1))

    def within(a: Tensor) -> Tensor:
        found = between(a, a)
        return (found.sum() - found.diagonal().sum()) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * between(x, y).mean()


torch.manual_seed(1)
DISCRIMINATOR = Discriminator(LATENTS, hidden=(16, 16)).double()


def logit(z: Tensor) -> Tensor:
    return DISCRIMINATOR(z).reshape(-1)


def dip(plain: Plain, kind: str) -> Tensor:
    covariance = plain.covariance(kind)
    diagonal = covariance.diagonal()
    off = (covariance - diagonal.diag()).square().sum()
    return plain.elbo - 5 * off - 2 * (diagonal - 1).square().sum()


def total_correlation(plain: Plain) -> Tensor:
    information, dependence, of_dims = (
        torch.stack(each).mean() for each in zip(*map(plain.parts, plain.draws), strict=True)
    )
    return plain.elbo - (2 - 1) * information - (6 - 1) * dependence - (0.5 - 1) * of_dims


def entropy(plain: Plain) -> Tensor:
    if plain.programs.family in NORMAL:
        return plain.elbo + (3 - 1) / 2 * torch.logdet(plain.covariances()).mean()
    if plain.analytic_kl:
        try:
            return plain.elbo + 2 * plain.q.entropy().mean()
        except NotImplementedError:
            pass
    return plain.elbo - 2 * plain.mean(lambda z: plain.q.log_prob(z).mean())


def inclusive(plain: Plain, number: int = 50) -> Tensor:
    prior, found = plain.programs.prior(), []
    for _ in plain.draws:
        y = plain.prior_draws(number)
        log_qz = torch.logsumexp(plain.q.log_prob(y[:, None]), 1) - math.log(len(plain.x))
        found.append((prior.log_prob(y) - log_qz).mean())
    return plain.log_likelihood - 0.7 * plain.kl - 2.2 * torch.stack(found).mean()


def exclusive(plain: Plain) -> Tensor:
    prior = plain.programs.prior()
    found = plain.mean(lambda z: (plain.log_qz(z) - prior.log_prob(z)).mean())
    return plain.log_likelihood - 0.7 * plain.kl - 2.2 * found


def info(plain: Plain) -> Tensor:
    found = plain.mean(lambda z: squared_mmd(z, plain.prior_draws(len(plain.x))))
    return plain.log_likelihood - (1 - 0.3) * plain.kl - (0.3 + 90 - 1) * found


def of_dimensions(z: Tensor, y: Tensor) -> Tensor:
    return torch.stack([squared_mmd(z[:, [d]], y[:, [d]]) for d in range(LATENTS)]).sum()


def wasserstein(plain: Plain) -> Tensor:
    found = plain.mean(lambda z: of_dimensions(z, plain.prior_draws(40)))
    return plain.log_likelihood - 30 * found


def adversarial(plain: Plain) -> Tensor:
    def jensen_shannon(z: Tensor) -> Tensor:
        y = plain.prior_draws(len(plain.x))
        of_both = softplus(-logit(z)).mean() + softplus(logit(y)).mean()
        return math.log(2) - 0.5 * of_both

    return plain.log_likelihood - 4 * plain.mean(jensen_shannon)


@dataclass(frozen=True)
class Row:
    """An objective by the package, given the settings of all, and as a plain expression."""

    build: Callable[..., TermsELBO]
    plain: Callable[[Plain], Tensor]


OBJECTIVES: dict[str, Row] = {
    "beta": Row(lambda **k: BetaELBO(3.7, **k), lambda p: p.log_likelihood - 3.7 * p.kl),
    "capacity": Row(
        lambda **k: CapacityELBO(11.0, 2.5, **k),
        lambda p: p.log_likelihood - 11 * (p.kl - 2.5).abs(),
    ),
    "annealed prior": Row(
        lambda **k: AnnealedPriorELBO(2.5, **k), lambda p: p.log_likelihood - 2.5 * p.kl
    ),
    "total correlation": Row(
        lambda **k: TotalCorrelationELBO(2.0, 6.0, 0.5, **k), total_correlation
    ),
    "DIP I": Row(lambda **k: DIPELBO("I", lambda_od=5.0, lambda_d=2.0, **k), lambda p: dip(p, "I")),
    "DIP II": Row(
        lambda **k: DIPELBO("II", lambda_od=5.0, lambda_d=2.0, **k), lambda p: dip(p, "II")
    ),
    "entropy": Row(lambda **k: EntropyRegularizedELBO(3.0, **k), entropy),
    "factor": Row(
        lambda **k: FactorELBO(8.0, DISCRIMINATOR, **k),
        lambda p: p.elbo - 8 * p.mean(lambda z: logit(z).mean()),
    ),
    "exclusive KL": Row(lambda **k: AggregateELBO(0.7, 2.2, of.ExclusiveKL(), **k), exclusive),
    "inclusive KL": Row(lambda **k: AggregateELBO(0.7, 2.2, of.InclusiveKL(50), **k), inclusive),
    "InfoVAE": Row(lambda **k: InfoELBO(0.3, 90.0, of.MMD(), **k), info),
    "dimension-wise WAE": Row(
        lambda **k: WassersteinELBO(30.0, of.DimensionwiseMMD(num_samples=40), **k), wasserstein
    ),
    "WAE-GAN": Row(
        lambda **k: WassersteinELBO(4.0, of.AdversarialDivergence(DISCRIMINATOR, "js"), **k),
        adversarial,
    ),
}
