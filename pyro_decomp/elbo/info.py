"""The objective that weighs mutual information apart from the match to the prior."""

from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.divergences.base import Divergence
from pyro_decomp.divergences.mmd import MMD
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.errors import ArgumentError
from pyro_decomp.programs.traces import TracePair


class InfoELBO(TermsELBO):
    r"""InfoVAE: mutual information through alpha, the match of q(z) to the prior through lambda.

    .. math::
        E_{q(z|x)}[log p(x|z)] - (1-\alpha) KL(q(z|x) || p(z))
        - (\alpha + \lambda - 1) D(q(z), p(z))

    Zhao, Song & Ermon, "InfoVAE: Balancing Learning and Inference in Variational Autoencoders",
    2017, eq. 6 (https://arxiv.org/abs/1706.02262). With D the KL(q(z) || p(z)) it is
    ELBO + alpha MI - (lambda - 1) D, MI the mutual information of x and z; any other divergence has
    the same optimum. With ``alpha=0, lambda_=1`` it is the plain ELBO; with ``alpha=1`` it is
    :class:`WassersteinELBO`, and with ``alpha=1-beta, lambda_=beta`` the beta-VAE.

    This alpha is the paper's: a weight of mutual information, unlike that of
    :class:`AggregateELBO`. Both weights must be such that neither the KL nor the divergence is
    *rewarded*, alpha <= 1 and alpha + lambda >= 1; defaults in public code break the second.

    Where the prior is given something of the datum, the KL is to the prior of each datum, and p(z)
    in the divergence is the mixture of all data's priors (:class:`.Divergence`).

    Terms: those of :class:`TermsELBO` and ``divergence``, D(q(z), p(z)) in the divergence's own
    unit. Where its weight is the number 0, the divergence is not computed and no random number is
    drawn for it. Whether it is unbiased is told by the divergence.

    Args:
        alpha: Weight of mutual information, at most 1.
        lambda_: Weight of the match to the prior, at least 1 - alpha.
        divergence: D(q(z), p(z)); by default :class:`MMD`, as in the paper's experiments.
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed form of the KL where there is one.

    Raises:
        ArgumentError: ``divergence`` is not one, or a weight would reward the KL or the divergence;
            at the next step, for a number that is set later.

    Example:
        >>> weights = InfoELBO(alpha=0.5, lambda_=1000.0).weights()
        >>> weights["kl"], weights["divergence"]
        (-0.5, -999.5)
    """

    def __init__(
        self,
        alpha: float | Tensor = 0.0,
        lambda_: float | Tensor = 1.0,
        divergence: Divergence | None = None,
        *,
        num_particles: int = 1,
        analytic_kl: bool = True,
    ) -> None:
        super().__init__(num_particles=num_particles, analytic_kl=analytic_kl)
        self.alpha = alpha
        self.lambda_ = lambda_
        self.divergence = MMD() if divergence is None else divergence
        arguments.number("(-inf, inf)", alpha=alpha, lambda_=lambda_)
        arguments.instance(Divergence, "a Divergence such as MMD()", divergence=self.divergence)
        _check(*(float(w.detach() if isinstance(w, Tensor) else w) for w in (alpha, lambda_)))

    def weights(self) -> dict[str, float | Tensor]:
        """The weights of the terms: 1, -(1 - alpha), -1 and -(alpha + lambda - 1).

        Raises:
            ArgumentError: A weight would reward the KL or the divergence.
        """
        if not isinstance(self.alpha, Tensor) and not isinstance(self.lambda_, Tensor):
            _check(self.alpha, self.lambda_)
        return super().weights() | {
            "kl": self.alpha - 1,
            "divergence": -(self.alpha + self.lambda_ - 1),
        }

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        """The terms of the ELBO and the divergence of this batch's q(z) from the prior."""
        terms = super().terms(traces)
        weight = self.weights()["divergence"]
        if isinstance(weight, Tensor) or weight != 0:
            terms["divergence"] = self.divergence(traces)
        return terms


def _check(alpha: float, lambda_: float) -> None:
    if not alpha <= 1:
        raise ArgumentError(
            f"alpha: expected at most 1, got {alpha}: the KL would have the weight "
            f"{1 - alpha:.4g} and be maximised"
        )
    if not alpha + lambda_ - 1 >= -1e-6:  # rounding, as in alpha = 1 - beta, lambda_ = beta
        raise ArgumentError(
            f"lambda_: expected at least 1 - alpha = {1 - alpha:.4g}, got {lambda_}: the "
            f"divergence would have the weight {alpha + lambda_ - 1:.4g} and be maximised"
        )
