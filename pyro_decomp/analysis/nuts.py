"""Draws of a posterior by Pyro's No-U-Turn Sampler."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pyro.infer.mcmc import MCMC, NUTS
from pyro.ops.stats import split_gelman_rubin
from torch import Tensor


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
        """The largest split R-hat over the d dimensions of each; near 1 where chains have mixed."""
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
