"""Approximations of the exact posterior of each datum: the closest Gaussian, draws, and weights."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pyro.distributions import MultivariateStudentT
from pyro.infer.mcmc import MCMC, NUTS
from pyro.ops.stats import split_gelman_rubin
from torch import Tensor
from torch.distributions.utils import tril_matrix_to_vec, vec_to_tril_matrix

Covariance = Literal["diagonal", "full"]
LogDensity = Callable[[Tensor], Tensor]

MIN_NOISE = 64  # points at which the bound is maximised
MAX_ITERATIONS = 100
DEGREES_OF_FREEDOM = 5.0  # of the proposals, whose tails are to be heavier than the posterior's


@dataclass(frozen=True)
class GaussianFit:
    """Gaussians, one for each of n densities.

    Attributes:
        loc: Means.
        scale_tril: Cholesky factors of the covariances.
    """

    loc: Float[Tensor, "n d"]
    scale_tril: Float[Tensor, "n d d"]

    @classmethod
    def of_moments(cls, draws: Float[Tensor, "s n d"], covariance: Covariance) -> "GaussianFit":
        """Gaussians with the mean and covariance of draws; the variances alone if diagonal."""
        centred = draws - draws.mean(0)
        if covariance == "diagonal":
            return cls(draws.mean(0), centred.square().mean(0).sqrt().diag_embed())
        second = torch.einsum("sni,snj->nij", centred, centred) / len(draws)
        jitter = 1e-6 * second.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
        return cls(
            draws.mean(0),
            torch.linalg.cholesky(second + jitter * torch.eye(len(second[0])).to(second)),
        )

    def at(self, noise: Float[Tensor, "s d"]) -> Float[Tensor, "s n d"]:
        """Draws made of standard Normal noise."""
        return self.loc + torch.einsum("nij,sj->sni", self.scale_tril, noise)

    def entropy(self) -> Float[Tensor, " n"]:
        """The entropy of each Gaussian, in nats."""
        constant = self.loc.shape[-1] * (1 + math.log(2 * math.pi)) / 2
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1) + constant

    def bounds(self, log_density: LogDensity, noise: Float[Tensor, "s d"]) -> Float[Tensor, "s n"]:
        """Log density plus entropy at draws: their mean is the evidence lower bound, in nats."""
        draws = self.at(noise)
        values = log_density(draws.flatten(0, 1))
        return values.view(draws.shape[:2]) + self.entropy()


def fit_gaussian(
    log_density: LogDensity, start: GaussianFit, covariance: Covariance
) -> GaussianFit:
    """Maximise the lower bound by L-BFGS over mean and covariance.

    The expectation is over fixed noise in pairs of opposite sign, with mean 0 and covariance I, so
    that it is exact for a quadratic log density, a Gaussian.

    Args:
        log_density: Of n times s points, the n densities over and over again; ``[s * n]``.
        start: Where to begin.
        covariance: What is kept of it.
    """
    noise = matched_noise(start.loc)
    loc = start.loc.detach().clone().requires_grad_()
    scales = start.scale_tril.diagonal(dim1=-2, dim2=-1).log().detach().clone().requires_grad_()
    below = tril_matrix_to_vec(start.scale_tril, -1).detach().clone()
    below.requires_grad_(covariance == "full")

    def current() -> GaussianFit:
        lower = vec_to_tril_matrix(below, -1) if below.shape[-1] else 0.0
        return GaussianFit(loc, scales.exp().diag_embed() + lower)

    parameters = [loc, scales, *([below] if covariance == "full" else [])]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=MAX_ITERATIONS, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        loss = -current().bounds(log_density, noise).mean(0).sum()
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    with torch.no_grad():
        found = current()
        return GaussianFit(found.loc.detach(), found.scale_tril.detach())


def best_fit(
    log_density: LogDensity, draws: Sequence[Float[Tensor, "_ n d"]], covariance: Covariance
) -> GaussianFit:
    """Each density's best of the Gaussians found from the moments of several sets of draws."""
    starts = [GaussianFit.of_moments(each, covariance) for each in draws]
    fits = [fit_gaussian(log_density, start, covariance) for start in starts]
    noise = matched_noise(fits[0].loc)
    bounds = torch.stack([fit.bounds(log_density, noise).mean(0) for fit in fits])
    best = bounds.nan_to_num(-torch.inf).argmax(0)
    each = torch.arange(len(best), device=best.device)
    return GaussianFit(
        torch.stack([fit.loc for fit in fits])[best, each],
        torch.stack([fit.scale_tril for fit in fits])[best, each],
    )


def matched_noise(like: Float[Tensor, "n d"]) -> Float[Tensor, "s d"]:
    """Standard Normal noise whose mean is 0 and whose second moments are I."""
    dim = like.shape[-1]
    half = torch.randn(max(MIN_NOISE // 2, 2 * dim), dim, dtype=like.dtype, device=like.device)
    factor = torch.linalg.cholesky(half.T @ half / len(half))
    half = torch.linalg.solve_triangular(factor, half.T, upper=False).T
    return torch.cat([half, -half])


@dataclass(frozen=True)
class PosteriorDraws:
    """Draws of n posteriors, sampled together.

    Attributes:
        u: The draws.
        num_divergences: After the warm-up, over all chains.
    """

    u: Float[Tensor, "chains samples n d"]
    num_divergences: int

    def r_hat(self) -> Float[Tensor, " n"]:
        """The largest split R-hat over the d dimensions of each posterior; 1 for mixed chains."""
        largest: Tensor = split_gelman_rubin(self.u).amax(-1)
        return largest


def sample_posteriors(
    log_density: Callable[[Tensor], Tensor],
    starts: Float[Tensor, "chains n d"],
    num_samples: int,
    warmup_steps: int,
) -> PosteriorDraws:
    """Sample n densities, a chain for each start; torch's global generator is drawn from.

    Args:
        log_density: Of ``[n, d]``, ``[n]``, up to a constant.
        starts: Where chains begin.
        num_samples: Draws a chain, at least 4.
        warmup_steps: Steps before them, which adapt step size and mass and are dropped.
    """

    def potential(values: dict[str, Tensor]) -> Tensor:
        return -log_density(values["u"]).sum()

    chains, num_divergences = [], 0
    for start in starts:
        kernel = NUTS(potential_fn=potential)
        sampler = MCMC(
            kernel, num_samples, warmup_steps, initial_params={"u": start}, disable_progbar=True
        )
        with torch.enable_grad():
            sampler.run()
        chains.append(sampler.get_samples()["u"].detach())
        num_divergences += len(sampler.diagnostics()["divergences"]["chain 0"])
    return PosteriorDraws(torch.stack(chains), num_divergences)


def log_weights(
    log_density: Callable[[Tensor], Tensor], moments: Sequence[GaussianFit], num_draws: int
) -> Float[Tensor, "k n"]:
    """Log p(u) / r(u) at draws of r, an equal mixture of t distributions with these moments.

    Args:
        log_density: Of n times k points, the n densities over and over again; ``[k * n]``.
        moments: One for each part of the mixture.
        num_draws: K, for each density.
    """
    shrink = (1 - 2 / DEGREES_OF_FREEDOM) ** 0.5  # of a t, from standard deviation to scale
    parts = [
        MultivariateStudentT(
            torch.full_like(each.loc[:, 0], DEGREES_OF_FREEDOM), each.loc, shrink * each.scale_tril
        )
        for each in moments
    ]
    drawn = torch.stack([part.sample((num_draws,)) for part in parts])
    chosen = torch.randint(len(parts), drawn.shape[1:3], device=drawn.device)
    u = drawn.gather(0, chosen[None, :, :, None].expand_as(drawn[:1]))[0]
    log_r = torch.stack([part.log_prob(u) for part in parts]).logsumexp(0) - math.log(len(parts))
    return log_density(u.flatten(0, 1)).view(num_draws, -1) - log_r


def log_mean(
    log_weights: Float[Tensor, "k n"],
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """The logarithm of the mean weight, and of K weights how many they are worth."""
    total = log_weights.logsumexp(0)
    effective = (2 * total - (2 * log_weights).logsumexp(0)).exp()
    return total - math.log(len(log_weights)), effective
