"""A product of Laplace densities."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import arguments


class Laplace(nn.Module):
    r"""A Laplace in each dimension: codes of which many are small and few are large.

    .. math:: p(z) = \prod_d \frac{1}{2 b} \exp(-|z_d| / b)

    The prior of sparse coding. It fixes the axes, since its contours are not round. A product over
    dimensions, as TotalCorrelationELBO needs; drawn with gradients.

    Args:
        latent_dim: D, the length of z.
        scale: b, positive; 0.5**0.5 gives every dimension variance 1.
        name: Of the site.

    Raises:
        ValueError: ``scale`` is not positive.

    Reference:
        Geadah et al., Sparse-coding variational autoencoders, 2024,
        https://direct.mit.edu/neco/article/36/12/2571/124821.

    >>> Laplace(2)().shape
    torch.Size([2])
    """

    def __init__(self, latent_dim: int, scale: float = 1.0, *, name: str = "z") -> None:
        super().__init__()
        arguments.annotated(Laplace.__init__, locals(), latent_dim=1)
        arguments.number("(0, inf)", scale=scale)
        self.name = name
        self.scale = nn.Buffer(torch.full((latent_dim,), float(scale)))

    def forward(self) -> Tensor:
        """Sample z, ``[D]``."""
        return pyro.sample(self.name, dist.Laplace(0.0, self.scale).to_event(1))
