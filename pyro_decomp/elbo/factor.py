"""The objective that penalises the total correlation of q(z), by a discriminator."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.divergences.auxiliary import Auxiliary, OptimizerFactory
from pyro_decomp.divergences.base import require_equal_weights
from pyro_decomp.divergences.density_ratio import (
    check_discriminator,
    classification_loss,
    log_ratio,
)
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.programs.traces import TracePair

PUBLISHED_OPTIMIZER = partial(torch.optim.Adam, lr=1e-4, betas=(0.5, 0.9), fused=True)


def permute_dims(z: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Permute every column on its own: samples of the product of the marginals.

    Kim & Mnih 2018, algorithm 1. Every column keeps its values; which of them share a row is
    chance.

    Args:
        z: Samples of q(z), ``[B, D]``.
        generator: Of the permutations; torch's global one by default.

    Returns:
        The permuted samples, ``[B, D]``.
    """
    arguments.annotated(permute_dims, locals())
    keys = torch.rand(z.shape, generator=generator, device=z.device)
    return z.gather(0, keys.argsort(0))


class FactorELBO(TermsELBO):
    r"""The FactorVAE objective: the ELBO less the total correlation of the aggregate posterior.

    .. math::
        L_{gamma} = E_{q(z|x)}[log p(x|z)] - KL(q(z|x) || p(z)) - gamma TC,
        \quad TC = KL(q(z) || \prod_j q(z_j))

    Kim & Mnih, "Disentangling by Factorising", 2018, eq. 2 (https://arxiv.org/abs/1802.05983).
    With ``gamma=0`` it is the plain ELBO, and the total correlation is only logged.

    TC is the mean over the batch of r(z), the logit of a discriminator that tells codes of q(z)
    from codes whose every coordinate is of another datum (eq. 3; algorithm 2). Its two logits in
    the paper enter by their difference alone, so here it has one. The estimate is neither a bound
    nor unbiased: it is as good as the discriminator, which is why that is trained at every step,
    on this batch's codes and the permuted ones of an independent second minibatch. No gradient of
    the objective reaches the discriminator, and none of its loss the encoder. The prior need not
    factorise, and may be given something of the datum: TC does not see it.

    The trainer owns the discriminator's optimiser and logs ``discriminator_loss``. In Pyro's SVI
    you take its step yourself, after SVI's (an example is below).

    Terms: those of :class:`TermsELBO` and ``total_correlation``, in nats. A latent's event
    dimensions, and several latent sites, are flattened: TC is between single coordinates.

    Args:
        gamma: Weight of the total correlation, at least 0; 10 to 40 in the paper's experiment on
            dSprites.
        discriminator: Takes codes ``[B, D]`` and gives one logit a row;
            ``pyro_decomp.networks.Discriminator(D)`` is the paper's.
        optimizer: Builds the discriminator's optimiser; by default the paper's.
        num_particles: Samples of the guide that the estimate averages; the discriminator is
            trained on the first.
        analytic_kl: Use the closed form of the KL where there is one.

    Raises:
        ArgumentError: ``gamma`` is negative or not a number, or ``discriminator`` is not a module.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from pyro.infer import SVI
        >>> from pyro_decomp import VAE
        >>> from pyro_decomp.divergences.auxiliary import guide_codes
        >>> from pyro_decomp.networks import Discriminator, MLPDecoder, MLPEncoder
        >>> def prior():
        ...     return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        >>> data = torch.randn(100, 3)
        >>> vae = VAE(prior, MLPEncoder(3, 2), MLPDecoder(2, 3), size=100)
        >>> elbo = FactorELBO(10.0, Discriminator(2, hidden=(32, 32)))
        >>> svi = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), loss=elbo)
        >>> optimizer = torch.optim.Adam(elbo.discriminator.parameters(), lr=1e-4)
        >>> for x, second in zip(data.split(20), data[torch.randperm(100)].split(20)):
        ...     loss = svi.step(x)
        ...     optimizer.zero_grad()
        ...     z, other = guide_codes(vae.guide, x), guide_codes(vae.guide, second)
        ...     elbo.discriminator_loss(z, other).backward()
        ...     optimizer.step()
    """

    of_kl = frozenset({"kl", "total_correlation"})

    def __init__(
        self,
        gamma: float | Tensor,
        discriminator: nn.Module,
        *,
        optimizer: OptimizerFactory = PUBLISHED_OPTIMIZER,
        num_particles: int = 1,
        analytic_kl: bool = True,
    ) -> None:
        super().__init__(num_particles=num_particles, analytic_kl=analytic_kl)
        arguments.number("[0, inf)", gamma=gamma)
        check_discriminator(discriminator)
        self.gamma = gamma
        self.discriminator = discriminator
        self.auxiliaries = (
            Auxiliary("discriminator", discriminator, self._auxiliary_loss, optimizer),
        )

    @property
    def optimizer(self) -> OptimizerFactory:
        """Builds the discriminator's optimiser."""
        return self.auxiliaries[0].optimizer

    def weights(self) -> dict[str, float | Tensor]:
        """The weights of the terms: 1, -1, -1 and -gamma."""
        return super().weights() | {"total_correlation": -self.gamma}

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        """The terms of the ELBO and the discriminator's estimate of the total correlation."""
        terms = super().terms(traces)
        require_equal_weights(traces, "FactorELBO")
        terms["total_correlation"] = log_ratio(self.discriminator, traces.codes()).mean()
        return terms

    def discriminator_loss(self, z: Tensor, other: Tensor) -> Tensor:
        """What the discriminator minimises, in nats; its gradients reach the discriminator alone.

        Args:
            z: Codes of a batch, ``[B, D]``.
            other: Codes of an independent second one; their columns are permuted here.

        Returns:
            The loss, a scalar.
        """
        return classification_loss(self.discriminator, z, permute_dims(other))

    def _auxiliary_loss(self, traces: TracePair, other: Callable[[], Tensor]) -> Tensor:
        return self.discriminator_loss(traces.codes(), other())
