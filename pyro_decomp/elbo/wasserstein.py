"""The objective without overlap: reconstruction, and the match of q(z) to the prior."""

from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.divergences.base import Divergence
from pyro_decomp.divergences.mmd import MMD
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.programs.traces import TracePair


class WassersteinELBO(TermsELBO):
    r"""The Wasserstein autoencoder: only q(z) as a whole is held to the prior, not each q(z|x).

    .. math:: E_{q(z|x)}[log p(x|z)] - \lambda D(q(z), p(z))

    Tolstikhin, Bousquet, Gelly & Schoelkopf, "Wasserstein Auto-Encoders", 2018, eq. 4
    (https://arxiv.org/abs/1711.01558). Their cost is -log p(x|z) of the model's own likelihood: for
    a Normal one of scale s the squared distance over 2 s^2, so that their lambda is ours times
    2 s^2. WAE-MMD has the divergence :class:`MMD`, WAE-GAN an adversarial one; any other works. No
    setting gives the plain ELBO: this is AggregateELBO at ``beta=0``.

    The guide may be Normal or, as most often in the paper, without spread: ``Delta(f(x))``.

    Where the prior is given something of the datum, p(z) in the divergence is the mixture of all
    data's priors (:class:`.Divergence`).

    Terms: those of :class:`TermsELBO` and ``divergence``, D(q(z), p(z)) in the divergence's own
    unit. The KL has weight 0 and is logged alone, and so the plain ELBO is. **What the ELBO means
    here:** of a guide with spread it is the bound that it always is, though nothing trains it, so
    that it may lie far below log p(x) (at minus infinity where a code leaves the prior's support).
    Of a Delta guide KL(q(z|x) || p(z)) is infinite; Pyro scores a Delta as one at its point, so
    that -log p(z) stands in its place and log p(x, z) in the ELBO's, which bounds nothing and
    compares with that of no other guide.

    Args:
        lambda_: Weight of the divergence, at least 0; the paper has 10 for MNIST, 100 for faces.
        divergence: D(q(z), p(z)); by default :class:`MMD`.
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed form of the KL where there is one.

    Raises:
        ArgumentError: The weight is negative, or ``divergence`` is not one.

    Example:
        >>> WassersteinELBO(lambda_=100.0).weights()["divergence"]
        -100.0
    """

    def __init__(
        self,
        lambda_: float | Tensor = 10.0,
        divergence: Divergence | None = None,
        *,
        num_particles: int = 1,
        analytic_kl: bool = True,
    ) -> None:
        super().__init__(num_particles=num_particles, analytic_kl=analytic_kl)
        arguments.number("[0, inf)", lambda_=lambda_)
        self.lambda_ = lambda_
        self.divergence = MMD() if divergence is None else divergence
        arguments.instance(Divergence, "a Divergence such as MMD()", divergence=self.divergence)

    def weights(self) -> dict[str, float | Tensor]:
        """The weights of the terms: 1, 0, -1 and -lambda."""
        return super().weights() | {"kl": 0.0, "divergence": -self.lambda_}

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        """The terms of the ELBO and the divergence of this batch's q(z) from the prior."""
        terms = super().terms(traces)
        if isinstance(self.lambda_, Tensor) or self.lambda_ != 0:
            terms["divergence"] = self.divergence(traces)
        return terms
