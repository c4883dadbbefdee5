"""The decomposition objective."""

from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.divergences import Divergence, InclusiveKL
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.programs.traces import TracePair


class AggregateELBO(TermsELBO):
    r"""The decomposition objective: overlap through beta, match to the prior through alpha.

    .. math::
        L_{alpha,beta} = E_{q(z|x)}[log p(x|z)] - beta KL(q(z|x) || p(z)) - alpha D(q(z), p(z))

    Mathieu, Rainforth, Siddharth & Teh, "Disentangling Disentanglement in Variational
    Autoencoders", 2019, eq. 7 (https://arxiv.org/abs/1812.02833). With ``beta=1, alpha=0`` it is
    the plain ELBO; with ``alpha=0`` the beta-VAE (Higgins et al. 2017).

    Where the prior is given something of the datum, the KL is to the prior of each datum, and p(z)
    in the divergence is the mixture of all data's priors (:class:`.Divergence`).

    Terms: those of :class:`TermsELBO` and ``divergence``, D(q(z), p(z)) in the divergence's own
    unit. At ``alpha=0`` the divergence is not computed and no random number is drawn for it.
    Whether the terms are unbiased is told by the divergence; the first two always are.

    Args:
        beta: Weight of the KL to the prior: the larger, the more encodings overlap.
        alpha: Weight of the divergence: the larger, the closer q(z) is to the prior.
        divergence: D(q(z), p(z)); the inclusive KL(p || q) by default, as in the paper's
            experiment on clusters.
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed form of the KL where there is one.

    Example:
        >>> AggregateELBO(beta=0.5, alpha=3.0).weights()["divergence"]
        -3.0
    """

    def __init__(
        self,
        beta: float | Tensor = 1.0,
        alpha: float | Tensor = 0.0,
        divergence: Divergence | None = None,
        *,
        num_particles: int = 1,
        analytic_kl: bool = True,
    ) -> None:
        super().__init__(num_particles=num_particles, analytic_kl=analytic_kl)
        arguments.number("[0, inf)", beta=beta, alpha=alpha)
        self.beta = beta
        self.alpha = alpha
        self.divergence = InclusiveKL() if divergence is None else divergence
        arguments.instance(
            Divergence, "a Divergence such as InclusiveKL()", divergence=self.divergence
        )

    def weights(self) -> dict[str, float | Tensor]:
        """The weights of the terms: 1, -beta, -1 and -alpha."""
        return super().weights() | {"kl": -self.beta, "divergence": -self.alpha}

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        """The terms of the ELBO and the divergence of this batch's q(z) from the prior."""
        terms = super().terms(traces)
        if isinstance(self.alpha, Tensor) or self.alpha != 0:
            terms["divergence"] = self.divergence(traces)
        return terms
