"""The beta-VAE."""

from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.elbo.base import TermsELBO


class BetaELBO(TermsELBO):
    r"""The objective of the beta-VAE: overlap of the encodings through one weight.

    .. math:: L_\beta = E_{q(z|x)}[\log p(x|z)] - \beta KL(q(z|x) || p(z))

    Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
    Framework", 2017; Mathieu et al. 2019, eq. 2 (https://arxiv.org/abs/1812.02833), who show that
    it is a VAE with the prior p^beta / F_beta and a reward for the encodings' entropy
    (:class:`AnnealedPriorELBO`). ``beta=1`` is the plain ELBO, ``beta=0`` an autoencoder with
    noise.

    Terms: those of :class:`TermsELBO`, all unbiased. The KL of sites outside the data plate has
    weight 1 whatever beta is.

    Args:
        beta: Weight of the KL to the prior, at least 0: the larger, the more encodings overlap.
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed form of the KL where there is one.

    Raises:
        ArgumentError: ``beta`` is negative.

    Example:
        >>> BetaELBO(4.0).weights()
        {'log_likelihood': 1.0, 'kl': -4.0, 'global_kl': -1.0}
    """

    def __init__(
        self, beta: float | Tensor = 1.0, *, num_particles: int = 1, analytic_kl: bool = True
    ) -> None:
        super().__init__(num_particles=num_particles, analytic_kl=analytic_kl)
        arguments.number("[0, inf)", beta=beta)
        self.beta = beta

    def weights(self) -> dict[str, float | Tensor]:
        """The weights of the terms: 1, -beta and -1."""
        return super().weights() | {"kl": -self.beta}
