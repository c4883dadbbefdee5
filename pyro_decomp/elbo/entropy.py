"""The ELBO with a reward for the entropy of the encodings."""

import math

from pyro.distributions import Distribution
from torch import Tensor, distributions

from pyro_decomp import arguments
from pyro_decomp.distributions.densities import stripped, unmasked
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.programs.traces import TracePair

ENTROPY_OF_UNIT_NORMAL = (1 + math.log(2 * math.pi)) / 2  # per dimension, in nats


class EntropyRegularizedELBO(TermsELBO):
    r"""The plain ELBO and a reward for spread-out encodings.

    .. math::
        L_{H,\beta} = E_{q(z|x)}[\log p(x|z)] - KL(q(z|x) || p(z))
            + \frac{\beta - 1}{2} \log |S(x)|

    for a Gaussian guide with covariance S(x): Mathieu et al. 2019, eq. 5
    (https://arxiv.org/abs/1812.02833). With a Gaussian prior too, it trains the same networks as
    :class:`BetaELBO` does, but for a scale sqrt(beta) of the latent space (Corollary 1). For other
    guides the last term is (beta - 1) H[q(z|x)]; that of a Gaussian one is the same less the
    constant (beta - 1) D (1 + log 2 pi) / 2, which the paper drops. ``beta=1`` is the plain ELBO.

    Terms, besides those of :class:`TermsELBO`, in nats per datum, over the latent sites of a datum:
    ``half_log_det``, log|S(x)| / 2 of Gaussian sites, always exact; ``entropy``, H[q(z|x)] of the
    others, by its closed form or estimated without bias as -log q(z|x). Each appears only where it
    has sites.

    Args:
        beta: At least 0; above 1 entropy is rewarded, below it is penalised.
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed forms of the KL and of the entropy where there are some.

    Attributes:
        entropy_methods: Latent site to "analytic" or "Monte Carlo", as of the last evaluation.

    Raises:
        ArgumentError: ``beta`` is negative.

    Example:
        >>> EntropyRegularizedELBO(3.0).weights()["half_log_det"]
        2.0
    """

    of_kl = frozenset({"kl", "half_log_det", "entropy"})

    def __init__(
        self, beta: float | Tensor = 1.0, *, num_particles: int = 1, analytic_kl: bool = True
    ) -> None:
        super().__init__(num_particles=num_particles, analytic_kl=analytic_kl)
        arguments.number("[0, inf)", beta=beta)
        self.beta = beta
        self.entropy_methods: dict[str, str] = {}

    def weights(self) -> dict[str, float | Tensor]:
        """The weights of the terms: 1, -1, -1 and beta - 1, twice."""
        return super().weights() | {"half_log_det": self.beta - 1, "entropy": self.beta - 1}

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        """The terms of the ELBO and the entropy of the encodings."""
        terms = super().terms(traces)
        self.entropy_methods = {}
        for name in (*traces.latents, *traces.auxiliaries):
            entropy = None
            if is_gaussian(traces.guide.nodes[name]["fn"]):
                term, entropy = "half_log_det", half_log_det(traces, name)
            else:
                term = "entropy"
                if self.analytic_kl:
                    entropy = analytic_entropy(traces, name)
            self.entropy_methods[name] = "Monte Carlo" if entropy is None else "analytic"
            if entropy is None:
                entropy = -traces.log_prob(name, guide=True)
            terms[term] = terms.get(term, 0.0) + traces.mean(entropy)
        return terms


def analytic_entropy(traces: TracePair, name: str) -> Tensor | None:
    """H[q(z|x)] of one site per datum, ``[B]``, in nats; None where it has no closed form."""
    site = traces.guide.nodes[name]
    try:
        entropy = unmasked(site["fn"]).entropy()
    except NotImplementedError:
        return None
    return traces.per_datum(entropy, site)


def half_log_det(traces: TracePair, name: str) -> Tensor:
    """Log|S(x)| / 2 of one Gaussian site per datum, ``[B]``."""
    site = traces.guide.nodes[name]
    constant = site["fn"].event_shape.numel() * ENTROPY_OF_UNIT_NORMAL
    return traces.per_datum(unmasked(site["fn"]).entropy() - constant, site)


def is_gaussian(q: Distribution) -> bool:
    """Whether q is a Normal of any number of dimensions."""
    normal = distributions.Normal, distributions.MultivariateNormal
    return isinstance(stripped(unmasked(q)), (*normal, distributions.LowRankMultivariateNormal))
