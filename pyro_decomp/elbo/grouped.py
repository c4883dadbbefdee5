"""Total correlation between latent sites and within them."""

from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.aggregate_posterior import Estimator
from pyro_decomp.elbo.decomposition import DecomposedELBO
from pyro_decomp.programs.traces import TracePair


class GroupedTotalCorrelationELBO(DecomposedELBO):
    r"""Independence of the latent sites and of the dimensions of each, weighted apart.

    .. math::
        L = E_{q(z|x)}[log p(x|z)] - alpha MI - between TC_b - within TC_w - gamma DWKL

        TC_b = E[log q(z) - \sum_s log q(z_s)], \quad
        TC_w = \sum_s E[log q(z_s) - \sum_d log q(z_{sd})]

    Esmaeili et al., "Structured Disentangled Representations", 2019
    (https://arxiv.org/abs/1804.02086), whose weights alpha, beta and gamma are ``alpha``,
    ``between`` and ``within`` here; z_s are the latent sites of a datum. MI and DWKL are those of
    :class:`TotalCorrelationELBO`, which this is for one site (TC_b = 0) and for
    ``between=within``, as TC_b + TC_w = TC. With all weights 1 it is the plain ELBO.

    A large ``between`` with a small ``within`` asks for independent subspaces; dimensions inside
    one may stay entangled.

    Terms: those of :class:`TermsELBO`, ``mutual_information``, ``between_total_correlation``,
    ``within_total_correlation`` and ``dimensionwise_kl``, in nats per datum; and
    ``prior_information`` where the prior is given something, as in :class:`TotalCorrelationELBO`.
    Estimation, bias and weights are as there.

    Args:
        alpha: Weight of the mutual information.
        between: Weight of the total correlation between latent sites.
        within: Weight of the total correlation within each, summed over them.
        gamma: Weight of the dimension-wise KL.
        estimator: Of log q(z) and its marginals, as in :class:`TotalCorrelationELBO`.
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed form of the KL where there is one.

    Raises:
        ModelError: On evaluation, as :class:`TotalCorrelationELBO`.
    """

    of_kl = frozenset(
        {
            "kl",
            "mutual_information",
            "between_total_correlation",
            "within_total_correlation",
            "dimensionwise_kl",
        }
    )

    def __init__(
        self,
        alpha: float | Tensor = 1.0,
        between: float | Tensor = 1.0,
        within: float | Tensor = 1.0,
        gamma: float | Tensor = 1.0,
        estimator: Estimator = "stratified_averaged",
        *,
        num_particles: int = 1,
        analytic_kl: bool = True,
    ) -> None:
        super().__init__(estimator, num_particles=num_particles, analytic_kl=analytic_kl)
        arguments.number("[0, inf)", alpha=alpha, between=between, within=within, gamma=gamma)
        self.alpha = alpha
        self.between = between
        self.within = within
        self.gamma = gamma

    def weights(self) -> dict[str, float | Tensor]:
        """The weights of the terms: those of the plain ELBO, and 1 less the weight of each part."""
        return super().weights() | {
            "mutual_information": 1.0 - self.alpha,
            "between_total_correlation": 1.0 - self.between,
            "within_total_correlation": 1.0 - self.within,
            "dimensionwise_kl": 1.0 - self.gamma,
            "prior_information": 0.0,
        }

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        """The terms of the ELBO and the four parts of its KL."""
        terms = super().terms(traces)
        if not self.is_plain():
            parts = self.decomposition(traces)
            terms |= self.terms_of(traces, parts)
            terms["between_total_correlation"] = parts.between
            terms["within_total_correlation"] = parts.within
        return terms
