"""Latents on a sphere: only their direction counts."""

import pyro
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from pyro_decomp import arguments, distributions
from pyro_decomp.descriptions import Described


class UniformSphere(Described, nn.Module):
    r"""A uniform density over the directions of a sphere.

    .. math:: p(z) = \Gamma(d/2) / (2 \pi^{d/2}), \quad \|z\| = 1

    with respect to the sphere's own area. The guide has to be on the sphere too, as is
    :class:`~pyro_decomp.distributions.VonMisesFisher`, to which the KL has a closed form. Not a
    product over dimensions.

    Args:
        dim: d, the length of z, at least 2; z has d - 1 degrees of freedom.
        name: Of the site.

    Reference:
        Davidson et al., Hyperspherical variational auto-encoders, 2018,
        https://arxiv.org/abs/1804.00891.

    >>> UniformSphere(3)().shape
    torch.Size([3])
    """

    def __init__(self, dim: int, *, name: str = "z") -> None:
        super().__init__()
        arguments.whole(2, dim=dim)
        arguments.text(name=name)
        self.name = name
        self.centre = nn.Buffer(torch.zeros(dim))

    @property
    def dim(self) -> int:
        """d, the length of z."""
        return len(self.centre)

    def forward(self) -> Tensor:
        """Sample z, ``[d]``, and return it."""
        uniform = distributions.UniformSphere(len(self.centre), like=self.centre)
        return pyro.sample(self.name, uniform)


class VonMisesFisher(Described, nn.Module):
    r"""A von Mises-Fisher density, a bump on the sphere, fixed or learned.

    .. math:: p(z) \propto \exp(\kappa m^T z), \quad \|z\| = 1

    The guide has to be on the sphere too. Not a product over dimensions; drawn with gradients.

    Args:
        loc: m, of any length but 0, ``[d]``.
        concentration: kappa, positive.
        learned: Whether both are learned, kappa through its logarithm.
        name: Of the site.

    Raises:
        ArgumentError: ``concentration`` is not positive.

    Reference:
        Davidson et al., Hyperspherical variational auto-encoders, 2018,
        https://arxiv.org/abs/1804.00891.

    >>> VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), 10.0)().shape
    torch.Size([3])
    """

    def __init__(
        self,
        loc: Float[Tensor, " d"],
        concentration: float,
        *,
        learned: bool = False,
        name: str = "z",
    ) -> None:
        super().__init__()
        arguments.annotated(VonMisesFisher.__init__, locals())
        arguments.tensor("d", loc=loc)
        if not loc.norm() > 0:
            arguments.refuse("loc", "a direction, of any length but 0", loc.tolist())
        arguments.number("(0, inf)", concentration=concentration)
        kind = nn.Parameter if learned else nn.Buffer
        self.name = name
        self.direction = kind(loc.clone())
        self.log_concentration = kind(torch.full_like(loc[0], float(concentration)).log())

    @property
    def loc(self) -> Float[Tensor, " d"]:
        """The direction m at present, of length 1, ``[d]``."""
        return normalize(self.direction, dim=0)

    @property
    def concentration(self) -> Float[Tensor, ""]:
        """The concentration kappa at present."""
        return self.log_concentration.exp()

    @property
    def learned(self) -> bool:
        """Whether both are learned."""
        return isinstance(self.direction, nn.Parameter)

    def forward(self) -> Tensor:
        """Sample z, ``[d]``, and return it."""
        z = distributions.VonMisesFisher(self.loc, self.concentration)
        return pyro.sample(self.name, z)
