"""The objectives that match the covariance of the encodings to the identity."""

from typing import get_args

from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.divergences.covariance import (
    Kind,
    code_covariance,
    diagonal_penalty,
    off_diagonal_penalty,
)
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.programs.traces import TracePair


class DIPELBO(TermsELBO):
    r"""DIP-VAE I and II: the ELBO, and penalties on the covariance C of the encodings.

    .. math::
        ELBO - \lambda_{od} \sum_{i \ne j} C_{ij}^2 - \lambda_d \sum_i (C_{ii} - 1)^2

    with C = Cov_x[loc(x)], the covariance of the encodings' means, in kind I, and
    C = E_x[\Sigma(x)] + Cov_x[loc(x)], the covariance of q(z), in kind II (with E[\Sigma] a matrix:
    for a factorised guide it adds to the diagonal alone). Kumar, Sattigeri & Balakrishnan,
    "Variational Inference of Disentangled Latent Concepts from Unlabeled Observations", 2018,
    eq. 6 and 7 (https://arxiv.org/abs/1711.00848). With both weights 0 it is the plain ELBO.

    Published settings take ``lambda_d = 10 * lambda_od`` in kind I and equal weights in kind II.
    The penalties want a prior whose covariance is the identity.

    Terms: those of :class:`TermsELBO`, and ``off_diagonal`` and ``diagonal``, the two sums, in the
    unit of z to the fourth power. C is estimated without bias (for the batch drawn from N data
    without replacement) and exactly when the batch is the data set; the sums of squares are biased
    up by the variance of C over batches.

    Args:
        kind: "I" or "II".
        lambda_od: Weight of the squared covariances.
        lambda_d: Weight of the squared distances of the variances from one.
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed form of the KL where there is one.

    Raises:
        ArgumentError: ``kind`` is neither.

    Example:
        >>> DIPELBO("II", lambda_od=10.0, lambda_d=5.0).weights()["diagonal"]
        -5.0
    """

    def __init__(
        self,
        kind: Kind,
        *,
        lambda_od: float | Tensor,
        lambda_d: float | Tensor,
        num_particles: int = 1,
        analytic_kl: bool = True,
    ) -> None:
        super().__init__(num_particles=num_particles, analytic_kl=analytic_kl)
        arguments.one_of(get_args(Kind), kind=kind)
        self.kind = kind
        arguments.number("[0, inf)", lambda_od=lambda_od, lambda_d=lambda_d)
        self.lambda_od = lambda_od
        self.lambda_d = lambda_d

    def weights(self) -> dict[str, float | Tensor]:
        """The weights of the terms: 1, -1, -1, -lambda_od and -lambda_d."""
        return super().weights() | {"off_diagonal": -self.lambda_od, "diagonal": -self.lambda_d}

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        """The terms of the ELBO and the two penalties on this batch's covariance.

        Raises:
            ModelError: The covariance of the encodings is not known or not defined.
        """
        terms = super().terms(traces)
        weights = (self.lambda_od, self.lambda_d)
        if all(not isinstance(weight, Tensor) and weight == 0 for weight in weights):
            return terms
        covariance = code_covariance(traces, self.kind)
        return terms | {
            "off_diagonal": off_diagonal_penalty(covariance),
            "diagonal": diagonal_penalty(covariance),
        }
