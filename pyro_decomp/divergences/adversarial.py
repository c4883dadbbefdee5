"""Divergences between the aggregate posterior and the prior by a discriminator."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_decomp import arguments
from pyro_decomp.divergences.auxiliary import Auxiliary, OptimizerFactory
from pyro_decomp.divergences.base import Divergence, require_equal_weights, require_gradients
from pyro_decomp.divergences.density_ratio import (
    check_discriminator,
    classification_loss,
    log_ratio,
)
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.traces import TracePair

Kind = Literal["kl", "js", "non-saturating"]

DEFAULT_OPTIMIZER = partial(torch.optim.Adam, lr=5e-4, betas=(0.5, 0.999), fused=True)


class AdversarialDivergence(Divergence):
    r"""D(q(z), p(z)) in nats, from a discriminator that tells codes from draws of the prior.

    With r(z) the discriminator's logit, log q(z) - log p(z) where it is perfect, D = 1/(1 + e^-r)
    its probability that z is a code, and m = (p + q)/2:

    ===================  ================================================  ========================
    kind                 estimate                                          of
    ===================  ================================================  ========================
    ``kl``               E_q[r]                                            KL(q || p)
    ``js``               log 2 + E_q[log D]/2 + E_p[log(1 - D)]/2          JS(q, p), at most log 2
    ``non-saturating``   -log 2 - E_q[log(1 - D)]                          KL(q || p) - KL(q || m)
    ===================  ================================================  ========================

    All are 0 at q = p. ``js`` is a lower bound for any discriminator and gives the encoder the
    gradient of the minimax game; ``non-saturating``, between KL(q || p)/2 and KL(q || p), gives it
    the gradient with which WAE-GAN and the adversarial autoencoder are trained, which does not
    vanish where the discriminator is sure. ``kl`` is the density ratio of Kim & Mnih 2018, eq. 3,
    with the prior in the denominator. None but a perfect discriminator's is unbiased, and the
    value means nothing before it is trained. Both minibatch and prior are only sampled: any
    reparametrised guide will do, and neither density is asked for. Where the prior is given
    something of the datum, its draws are one for each datum, together draws of the mixture.

    Tolstikhin et al., "Wasserstein Auto-Encoders", 2018, algorithm 1
    (https://arxiv.org/abs/1711.01558), with 1 - D for their discriminator; Makhzani et al.,
    "Adversarial Autoencoders", 2015 (https://arxiv.org/abs/1511.05644); Goodfellow et al.,
    "Generative Adversarial Nets", 2014 (https://arxiv.org/abs/1406.2661).

    The trainer owns the discriminator's optimiser and logs ``discriminator_loss``. In Pyro's SVI
    you take its step yourself after SVI's: ``pair = next(elbo.trace_pairs(model, guide, x))``, then
    minimise ``divergence.discriminator_loss(pair.codes(), pair.prior_codes())``.

    Args:
        discriminator: Takes codes ``[B, D]`` and gives one logit a row, such as
            ``pyro_decomp.networks.Discriminator(D, hidden=(512,) * 4)``.
        kind: Which divergence.
        optimizer: Builds the discriminator's optimiser; by default Adam at 5e-4 with
            ``betas=(0.5, 0.999)``.

    Raises:
        ArgumentError: ``discriminator`` is not a module, or ``kind`` is none of the three.
    """

    def __init__(
        self,
        discriminator: nn.Module,
        kind: Kind = "kl",
        *,
        optimizer: OptimizerFactory = DEFAULT_OPTIMIZER,
    ) -> None:
        check_discriminator(discriminator)
        arguments.one_of(get_args(Kind), kind=kind)
        self.discriminator = discriminator
        self.kind = kind
        self.auxiliaries = (
            Auxiliary("discriminator", discriminator, self._auxiliary_loss, optimizer),
        )

    @property
    def optimizer(self) -> OptimizerFactory:
        """Builds the discriminator's optimiser."""
        return self.auxiliaries[0].optimizer

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate the divergence, in nats; gradients reach the codes, never the discriminator.

        Returns:
            The estimate, a scalar.

        Raises:
            ModelError: The prior is learned (or depends on a global latent) in a way that this
                estimate passes no gradient to.
        """
        require_equal_weights(traces, "AdversarialDivergence")
        log_qz_pz = log_ratio(self.discriminator, traces.codes())
        if self.kind == "js":
            z = traces.prior_codes()
            require_gradients(traces.prior, "AdversarialDivergence")
            log_not_code = -softplus(log_ratio(self.discriminator, z))
            return math.log(2) + 0.5 * (log_not_code.mean() - softplus(-log_qz_pz).mean())
        if traces.prior.draw()[1].requires_grad:
            raise ModelError(
                f"the prior of {', '.join(map(repr, traces.latents))} is learned or depends on a "
                f"global latent, to which AdversarialDivergence(kind={self.kind!r}) passes no "
                "gradients: use kind='js', a divergence of densities such as InclusiveKL(), or a "
                "fixed prior"
            )
        if self.kind == "kl":
            return log_qz_pz.mean()
        return softplus(log_qz_pz).mean() - math.log(2)

    def discriminator_loss(self, z: Tensor, prior_z: Tensor) -> Tensor:
        """What the discriminator minimises, in nats; its gradients reach the discriminator alone.

        Args:
            z: Codes of a batch, ``[B, D]``.
            prior_z: Draws of the prior, ``[S, D]``.

        Returns:
            The loss, a scalar.
        """
        return classification_loss(self.discriminator, z, prior_z)

    def _auxiliary_loss(self, traces: TracePair, other: Callable[[], Tensor]) -> Tensor:
        return self.discriminator_loss(traces.codes(), traces.prior_codes())
