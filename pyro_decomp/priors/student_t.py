"""A product of Student-t densities."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import arguments


class StudentT(nn.Module):
    r"""A Student-t in each dimension: its contours are not round, so it fixes the axes.

    .. math:: p(z) = \prod_d \mathrm{StudentT}(z_d; \nu)

    It tends to the standard Normal for large nu; the smaller nu, the heavier the tails along the
    axes and the better axes are told apart. A product over dimensions, as TotalCorrelationELBO
    needs; drawn with gradients.

    Args:
        latent_dim: D, the length of z.
        df: nu, the degrees of freedom, positive.
        name: Of the site.

    Raises:
        ValueError: ``df`` is not positive.

    Reference:
        Mathieu et al., Disentangling disentanglement in variational autoencoders, 2019,
        section 6.1, https://arxiv.org/abs/1812.02833.

    >>> StudentT(2, df=5.0)().shape
    torch.Size([2])
    """

    def __init__(self, latent_dim: int, df: float, *, name: str = "z") -> None:
        super().__init__()
        arguments.annotated(StudentT.__init__, locals(), latent_dim=1)
        arguments.number("(0, inf)", df=df)
        self.name = name
        self.df = nn.Buffer(torch.full((latent_dim,), float(df)))

    def forward(self) -> Tensor:
        """Sample z, ``[D]``."""
        return pyro.sample(self.name, dist.StudentT(self.df).to_event(1))
