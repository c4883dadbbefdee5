"""How much of a bound is lost to the guide's family, and how much to its network."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.analysis.inference import global_latents, infer
from pyro_decomp.analysis.latents import encoded
from pyro_decomp.analysis.log_joint import LogJoint
from pyro_decomp.analysis.posterior_approximation import (
    Covariance,
    GaussianFit,
    best_fit,
    log_mean,
    log_weights,
    sample_posteriors,
)
from pyro_decomp.data.batches import AnyData, Batch
from pyro_decomp.descriptions import constructor_call
from pyro_decomp.distributions.densities import unwrapped
from pyro_decomp.elbo import BetaELBO
from pyro_decomp.programs.provenance import dependencies
from pyro_decomp.programs.sites import Site, sample_sites
from pyro_decomp.seeds import seeded
from pyro_decomp.training.run import Run
from pyro_decomp.training.user_code import memory_counted

MOMENT_DRAWS = 200  # of the guide and of the prior, for their moments
ROW_ELEMENTS = 2**22  # elements of tiled data held at once


@dataclass(frozen=True, repr=False)
class AmortizationGap:
    r"""The bounds on log p(x) behind the gaps of n data, in nats.

    .. math:: \log p(x) - L[q] = (\log p(x) - L[q^*]) + (L[q^*] - L[q])

    with L the evidence lower bound, q the guide and q^* the best Gaussian for each datum by itself.

    Attributes:
        log_px: Log p(x) by importance weighting, a lower bound in expectation.
        elbo_fitted: L[q^*].
        elbo: L[q].
        standard_errors: Of each of these three, by its name, from its draws.
        effective_samples: Of the importance weights: of K draws, how many they are worth.
        num_importance_samples: K, the draws per datum behind each of the three.
        covariance: What the fitted Gaussian has.
        draws: Latent site to the draws of NUTS, ``[chains, samples, n, ...]``.
        r_hat: The largest split R-hat of a datum's latents; near 1 where the chains have mixed.
        num_divergences: Of NUTS after the warm-up, over all chains.
    """

    log_px: Float[Tensor, " n"]
    elbo_fitted: Float[Tensor, " n"]
    elbo: Float[Tensor, " n"]
    standard_errors: Mapping[str, Float[Tensor, " n"]]
    effective_samples: Float[Tensor, " n"]
    num_importance_samples: int
    covariance: Covariance
    draws: Mapping[str, Shaped[Tensor, "chains samples n ..."]]
    r_hat: Float[Tensor, " n"]
    num_divergences: int

    __repr__ = constructor_call

    @property
    def approximation_gap(self) -> Float[Tensor, " n"]:
        """What is lost because no Gaussian is the posterior, log p(x) - L[q*]."""
        return self.log_px - self.elbo_fitted

    @property
    def amortization_gap(self) -> Float[Tensor, " n"]:
        """What is lost because one network encodes all data, L[q*] - L[q]."""
        return self.elbo_fitted - self.elbo


@memory_counted("fewer data, or num_importance_samples,")
def amortization_gap(
    run: Run,
    x: AnyData,
    *,
    num_samples: int = 300,
    warmup_steps: int = 200,
    num_chains: int = 1,
    num_importance_samples: int = 1000,
    covariance: Covariance | None = None,
    seed: int = 0,
) -> AmortizationGap:
    """Sample the posterior of a few data by Pyro's NUTS, and measure what the guide loses on it.

    The networks are as they were trained. Latent sites outside the data plate have the guide's
    mean; discrete sites are summed out. Gaussians are over unconstrained latents: the logarithms of
    positive ones. q* is found by maximising the bound from the moments of the draws of NUTS and
    from those of the guide's, whichever ends higher; a guide that is richer than a Gaussian may
    have a negative amortization gap. The proposal of the importance weights is a mixture of four
    multivariate t distributions, with the moments of the draws of NUTS, of the guide, of the prior
    and of q*.

    Args:
        run: The run.
        x: The data, few: all are sampled together, and the time is in proportion to steps of NUTS.
        num_samples: Draws a chain.
        warmup_steps: Steps before them that adapt step size and mass, and are dropped.
        num_chains: Chains, one after the other, each started at a draw of the guide.
        num_importance_samples: K.
        covariance: Of q*, "diagonal" or "full"; by default as the guide's, full where its sites
            depend on one another or one has several dimensions that do.
        seed: The seed of every draw; the global random generators are left as they were.

    Returns:
        The bounds and their gaps, with the draws of NUTS.

    Raises:
        ArgumentError: A number is too small, or the covariance not one of the two.
        ModelError: There is no continuous latent site of a datum, or the support of one has no map
            from unconstrained numbers; the pair is not something an objective can score.

    Reference:
        Cremer, Li & Duvenaud, Inference suboptimality in variational autoencoders, 2018, section 4,
        https://arxiv.org/abs/1801.03558.
    """
    least = {"num_samples": 4, "num_importance_samples": 2, "warmup_steps": 1, "num_chains": 1}
    arguments.annotated(amortization_gap, locals(), **least)
    if x is None:
        arguments.refuse("x", "a few data", x)
    data = encoded(run, x).data
    batch = data[: len(data)]
    with seeded(seed), torch.no_grad():
        outside = global_latents(infer(run.model, run.guide, batch, "mean")[0])
        log_joint = LogJoint(run, batch, outside)
        programs = _Programs(run, batch, outside)
        of_guide, of_prior = (
            log_joint.unconstrained(trace).unflatten(0, (MOMENT_DRAWS, -1))
            for trace in programs.traces(MOMENT_DRAWS)
        )
        found = sample_posteriors(log_joint, of_guide[:num_chains], num_samples, warmup_steps)
        kind = covariance or programs.covariance()
        draws = found.u.flatten(0, 1)
        fitted = best_fit(log_joint, [draws, of_guide], kind)
        rows = max(1, ROW_ELEMENTS // (len(data) * data.datum_size))
        sizes = [
            min(rows, num_importance_samples - i) for i in range(0, num_importance_samples, rows)
        ]
        moments = [GaussianFit.of_moments(each, "full") for each in (draws, of_guide, of_prior)]
        proposals = [*moments, fitted]
        noise = [torch.randn(size, log_joint.dim).to(fitted.loc) for size in sizes]
        of_fit = torch.cat([fitted.bounds(log_joint, each) for each in noise])
        of_network = torch.cat([programs.bounds(size) for size in sizes])
        weights = torch.cat([log_weights(log_joint, proposals, size) for size in sizes])
        log_px, effective = log_mean(weights)
    errors = {
        "log_px": (1 / effective - 1 / num_importance_samples).clamp(min=0).sqrt(),
        "elbo_fitted": of_fit.std(0) / num_importance_samples**0.5,
        "elbo": of_network.std(0) / num_importance_samples**0.5,
    }
    return AmortizationGap(
        log_px=log_px,
        elbo_fitted=of_fit.mean(0),
        elbo=of_network.mean(0),
        standard_errors=errors,
        effective_samples=effective,
        num_importance_samples=num_importance_samples,
        covariance=kind,
        draws=log_joint.constrained(found.u),
        r_hat=found.r_hat(),
        num_divergences=found.num_divergences,
    )


class _Programs:
    """A run's model and guide on some data, their sites outside the data plate given."""

    def __init__(self, run: Run, batch: Batch, outside: Mapping[str, Tensor]) -> None:
        given = poutine.condition(run.guide, data=outside)
        self._guide = poutine.block(given, hide=list(outside))
        self._model = poutine.condition(run.model, data=outside)
        self._batch = batch
        self._elbo = BetaELBO()

    def traces(self, times: int) -> list[poutine.Trace]:
        """Traces of the guide, and of the model by itself, with so many draws for each datum."""
        batch = self._repeated(times)
        return [poutine.trace(each).get_trace(*batch) for each in (self._guide, self._model)]

    def bounds(self, times: int) -> Float[Tensor, "s n"]:
        """The evidence lower bound of each datum, from one draw of the guide each."""
        tiled = self._repeated(times)
        pair = next(self._elbo.trace_pairs(self._model, self._guide, *tiled))
        return (pair.log_likelihood() - pair.total_kl()).view(times, -1)

    def covariance(self) -> Covariance:
        """The guide's: full if a site depends on another, or its dimensions on one another."""
        trace = self.traces(1)[0]
        if any(dependencies(self._guide, trace, *self._batch).values()):
            return "full"
        return "full" if any(map(_is_joint, sample_sites(trace))) else "diagonal"

    def _repeated(self, times: int) -> list[Tensor]:
        return [tensor.repeat(times, *[1] * (tensor.dim() - 1)) for tensor in self._batch]


def _is_joint(site: Site) -> bool:
    base = unwrapped(site["fn"])
    return not isinstance(base, Delta) and base.event_shape.numel() > 1
