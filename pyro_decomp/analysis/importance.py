"""Importance weights of densities under mixtures of t distributions."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from pyro.distributions import MultivariateStudentT
from torch import Tensor

from pyro_decomp.analysis.gaussian_fit import GaussianFit

DEGREES_OF_FREEDOM = 5.0  # of the proposals, whose tails are to be heavier than the posterior's


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
