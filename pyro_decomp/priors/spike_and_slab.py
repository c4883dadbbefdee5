"""The sparse prior: dimensions that are off or on."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import arguments


class SpikeAndSlab(nn.Module):
    r"""Each dimension is off, in a narrow spike, with probability gamma, and else on.

    .. math::
        p(z) = \prod_d \gamma \mathcal{N}(z_d; 0, \sigma_0^2) + (1 - \gamma) \mathcal{N}(z_d; 0, 1)

    A product over dimensions, as TotalCorrelationELBO needs. Drawn without gradients, which costs
    nothing as it is fixed.

    Args:
        latent_dim: D, the length of z.
        gamma: Probability that a dimension is off, from 0 (the standard Normal) to 1.
        spike_scale: sigma_0. The paper has sigma_0^2 = 0.05, the default here; its public code took
            0.05 for sigma_0 itself, as does ``spike_scale=0.05``.
        name: Of the site.

    Raises:
        ValueError: ``gamma`` is no probability, or ``spike_scale`` is not positive.

    Reference:
        Mathieu et al., Disentangling disentanglement in variational autoencoders, 2019,
        section 6.3, https://arxiv.org/abs/1812.02833.

    >>> SpikeAndSlab(50, gamma=0.8)().shape
    torch.Size([50])
    """

    def __init__(
        self,
        latent_dim: int,
        gamma: float = 0.8,
        spike_scale: float = 0.05**0.5,
        *,
        name: str = "z",
    ) -> None:
        super().__init__()
        arguments.annotated(SpikeAndSlab.__init__, locals(), latent_dim=1)
        arguments.number("[0, 1]", gamma=gamma)
        arguments.number("(0, inf)", spike_scale=spike_scale)
        self.name = name
        self.latent_dim = latent_dim
        self.logits = nn.Buffer(torch.tensor([gamma, 1 - gamma]).log())
        self.scale = nn.Buffer(torch.tensor([spike_scale, 1.0]))

    def forward(self) -> Tensor:
        """Sample z, ``[D]``."""
        spike_or_slab = dist.Categorical(logits=self.logits.expand(self.latent_dim, 2))
        components = dist.Normal(0.0, self.scale.expand(self.latent_dim, 2))
        z = dist.MixtureSameFamily(spike_or_slab, components).to_event(1)
        return pyro.sample(self.name, z)
