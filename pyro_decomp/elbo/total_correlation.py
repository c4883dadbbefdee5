"""The total correlation decomposition."""

from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.aggregate_posterior import Estimator
from pyro_decomp.elbo.decomposition import DecomposedELBO
from pyro_decomp.programs.traces import TracePair


class TotalCorrelationELBO(DecomposedELBO):
    r"""The KL in three parts: what codes tell of data, what dimensions share, and their shapes.

    .. math::
        L = E_{q(z|x)}[log p(x|z)] - alpha MI - beta TC - gamma DWKL

        MI = E[log q(z|x) - log q(z)], \quad TC = E[log q(z) - \sum_d log q(z_d)], \quad
        DWKL = E[\sum_d log q(z_d) - log p(z_d)]

    Chen, Li, Grosse & Duvenaud, "Isolating Sources of Disentanglement in Variational
    Autoencoders", 2018, eq. 4 (https://arxiv.org/abs/1802.04942). MI is the mutual information of
    data and codes under q, TC the total correlation of q(z). With ``alpha=beta=gamma=1`` it is the
    plain ELBO, and none of the three is computed; ``alpha=gamma=1`` is the beta-TCVAE;
    ``alpha=0`` the paper's ablation.

    Since MI + TC + DWKL = log q(z|x) - log p(z) for every sample, it is computed as the plain ELBO
    less (alpha-1) MI, (beta-1) TC and (gamma-1) DWKL, so that the KL keeps its closed form. These
    are the weights of the terms.

    Where the prior is given something u of the datum, p(z_d) is the mixture of all data's p(z_d|u)
    with the weights of q(z_d), and the three parts less R = E[log p(z|u) - \sum_d log p(z_d)] are
    log q(z|x) - log p(z|u). R is what the prior of a datum tells of its code; it counts once,
    within the ELBO, whatever the weights are.

    Terms: those of :class:`TermsELBO`, ``mutual_information``, ``total_correlation`` and
    ``dimensionwise_kl``, in nats per datum, and ``prior_information``, R, where the prior is given
    something. The log densities come from the batch itself, by one
    of the estimators in :mod:`pyro_decomp.aggregate_posterior.estimators`. By default those of
    q(z) and of every q(z_d) are unbiased, and exact on a full batch; their logarithms are biased
    low, so MI is biased up, and TC and DWKL carry the difference of biases. With "weighted" each
    log density is too small by about log N: TC is off by (D-1) log N, and only gradients mean
    anything.

    Rows that are masked over the data plate are no data, and a scale that varies along it weighs
    them; one scale around all latent sites multiplies the KL and its parts in the objective.

    Args:
        alpha: Weight of the mutual information.
        beta: Weight of the total correlation: the larger, the more independent the dimensions.
        gamma: Weight of the dimension-wise KL.
        estimator: Of log q(z) and its marginals: "stratified_averaged", "stratified", "weighted",
            "batch", or :class:`Exact` with the whole data set.
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed form of the KL where there is one.

    Raises:
        ModelError: On evaluation, if the prior is not a product over dimensions (a mixture of
            vectors, or over labels, a hierarchy), if the guide's sites depend on one another, or
            if the marginals of their family are not known.

    Example:
        >>> TotalCorrelationELBO(beta=6.0).weights()["total_correlation"]
        -5.0
    """

    of_kl = frozenset({"kl", "mutual_information", "total_correlation", "dimensionwise_kl"})

    def __init__(
        self,
        alpha: float | Tensor = 1.0,
        beta: float | Tensor = 1.0,
        gamma: float | Tensor = 1.0,
        estimator: Estimator = "stratified_averaged",
        *,
        num_particles: int = 1,
        analytic_kl: bool = True,
    ) -> None:
        super().__init__(estimator, num_particles=num_particles, analytic_kl=analytic_kl)
        arguments.number("[0, inf)", alpha=alpha, beta=beta, gamma=gamma)
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma

    def weights(self) -> dict[str, float | Tensor]:
        """The weights of the terms: the plain ELBO's, and 1 - alpha, 1 - beta and 1 - gamma."""
        return super().weights() | {
            "mutual_information": 1.0 - self.alpha,
            "total_correlation": 1.0 - self.beta,
            "dimensionwise_kl": 1.0 - self.gamma,
            "prior_information": 0.0,
        }

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        """The terms of the ELBO and the three parts of its KL."""
        terms = super().terms(traces)
        if not self.is_plain():
            parts = self.decomposition(traces)
            terms |= self.terms_of(traces, parts)
            terms["total_correlation"] = parts.between + parts.within
        return terms
