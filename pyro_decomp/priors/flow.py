"""Normalising flows: priors of any shape, with independent dimensions or not."""

import math
from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions.transforms import SplineAutoregressive
from pyro.distributions.transforms.spline import ConditionedSpline
from pyro.nn import AutoRegressiveNN
from torch import Tensor, nn
from torch.nn.functional import softmax, softplus

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described


class FactorisedFlow(Described, nn.Module):
    r"""A learned density for each dimension: a standard Normal through a monotone spline.

    .. math:: p(z) = \prod_d \mathcal{N}(f_d^{-1}(z_d); 0, 1) \, |(f_d^{-1})'(z_d)|

    with f_d a spline of rational quadratic pieces within the bound and the identity beyond. It
    starts as the standard Normal. A product over dimensions, as TotalCorrelationELBO needs; drawn
    with gradients.

    Args:
        latent_dim: D, the length of z.
        count_bins: Pieces of each spline.
        bound: The splines map [-bound, bound] to itself.
        name: Of the site.

    Reference:
        Chen et al., Isolating sources of disentanglement in variational autoencoders, 2018,
        section 6, https://arxiv.org/abs/1802.04942, which has a factorised flow of another kind;
        Durkan et al., Neural spline flows, 2019, https://arxiv.org/abs/1906.04032.

    >>> FactorisedFlow(2)().shape
    torch.Size([2])
    """

    def __init__(
        self, latent_dim: int, *, count_bins: int = 8, bound: float = 4.0, name: str = "z"
    ) -> None:
        super().__init__()
        arguments.annotated(FactorisedFlow.__init__, locals(), latent_dim=1, count_bins=1)
        arguments.number("(0, inf)", bound=bound)
        self.name = name
        self.bound = bound
        self.loc = nn.Buffer(torch.zeros(latent_dim))
        self.widths = nn.Parameter(torch.zeros(latent_dim, count_bins))
        self.heights = nn.Parameter(torch.zeros(latent_dim, count_bins))
        identity = math.log(math.expm1(1 - 1e-3))  # Pyro adds 1e-3 to the softplus of it
        self.slopes = nn.Parameter(torch.full((latent_dim, count_bins - 1), identity))

    @property
    def latent_dim(self) -> int:
        """D, the length of z."""
        return len(self.loc)

    @property
    def count_bins(self) -> int:
        """Pieces of each spline."""
        return self.widths.shape[1]

    def forward(self) -> Tensor:
        """Sample z, ``[D]``, and return it."""
        knots = softmax(self.widths, -1), softmax(self.heights, -1), softplus(self.slopes)
        # made anew, so that nothing of the last call is kept, as Pyro's module does
        spline = ConditionedSpline((*knots, None), self.bound, order="quadratic")
        z = dist.TransformedDistribution(dist.Normal(self.loc, 1.0), [spline])
        return pyro.sample(self.name, z.to_event(1))


class AutoregressiveFlow(Described, nn.Module):
    r"""A learned joint density: a standard Normal through splines of each dimension in turn.

    .. math:: u_d = g(z_d; h(z_{<d})), \quad u \sim \mathcal{N}(0, I)

    with g a monotone spline within the bound and the identity beyond, and h a masked network;
    repeated, each time in an order of the dimensions drawn at the start. To score takes one pass of
    the networks, to draw D of them. Not a product over dimensions; drawn with gradients.

    Args:
        latent_dim: D, the length of z, at least 2.
        num_transforms: How often.
        hidden: Width of each hidden layer of the networks.
        count_bins: Pieces of each spline.
        bound: The splines map [-bound, bound] to itself.
        name: Of the site.

    Raises:
        ArgumentError: ``latent_dim`` is less than 2.

    Reference:
        Durkan et al., Neural spline flows, 2019, https://arxiv.org/abs/1906.04032; as a prior,
        Chen et al., Variational lossy autoencoder, 2017, https://arxiv.org/abs/1611.02731.

    >>> AutoregressiveFlow(3)().shape
    torch.Size([3])
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        num_transforms: int = 2,
        hidden: Sequence[int] = (32,),
        count_bins: int = 8,
        bound: float = 4.0,
        name: str = "z",
    ) -> None:
        super().__init__()
        arguments.annotated(AutoregressiveFlow.__init__, locals(), num_transforms=1, count_bins=1)
        arguments.whole(2, latent_dim=latent_dim)
        arguments.wholes(hidden=hidden)
        arguments.number("(0, inf)", bound=bound)
        self.name = name
        self.spline: dict[str, Any] = {
            "count_bins": count_bins,
            "bound": bound,
            "order": "quadratic",
        }
        self.loc = nn.Buffer(torch.zeros(latent_dim))
        lengths = [count_bins, count_bins, count_bins - 1]
        self.networks = nn.ModuleList(
            AutoRegressiveNN(latent_dim, list(hidden), lengths) for _ in range(num_transforms)
        )

    @property
    def latent_dim(self) -> int:
        """D, the length of z."""
        return len(self.loc)

    @property
    def num_transforms(self) -> int:
        """How many splines follow one another."""
        return len(self.networks)

    @property
    def hidden(self) -> tuple[int, ...]:
        """Width of each hidden layer of the networks."""
        first: Any = self.networks[0]
        return tuple(first.hidden_dims)

    @property
    def count_bins(self) -> int:
        """Pieces of each spline."""
        return int(self.spline["count_bins"])

    @property
    def bound(self) -> float:
        """The splines map [-bound, bound] to itself."""
        return float(self.spline["bound"])

    def forward(self) -> Tensor:
        """Sample z, ``[D]``, and return it."""
        base = dist.Normal(self.loc, 1.0).to_event(1)
        # made anew, so that nothing of the last call is kept, as Pyro's modules do
        splines = [
            SplineAutoregressive(len(self.loc), network, **self.spline).inv
            for network in self.networks
        ]
        return pyro.sample(self.name, dist.TransformedDistribution(base, splines))
