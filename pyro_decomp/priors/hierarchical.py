"""Several stochastic layers, and guides that follow their order or reverse it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described
from pyro_decomp.networks import NormalMLP


class Hierarchical(Described, nn.Module):
    r"""L layers of latents, each Normal given the one above it through a network of its own.

    .. math:: p(z) = \mathcal{N}(z_L; 0, I) \prod_{l=1}^{L-1}
        \mathcal{N}(z_l; m_l(z_{l+1}), \mathrm{diag}(s_l(z_{l+1})^2))

    Sites are "z1", which the decoder takes, to "zL". Each is drawn with gradients. Not a product
    over dimensions. Guides: :class:`BottomUpEncoder`, :class:`TopDownEncoder`.

    Args:
        latent_dims: D_1, ..., D_L: from the layer that is decoded to the top, at least two.
        hidden: Width of each hidden layer of the networks.
        name: Of the sites, before their number.

    Raises:
        ArgumentError: There are fewer than two layers.

    Reference:
        Rezende, Mohamed & Wierstra, Stochastic backpropagation and approximate inference in deep
        generative models, 2014, https://arxiv.org/abs/1401.4082; Sonderby et al., Ladder
        variational autoencoders, 2016, https://arxiv.org/abs/1602.02282.

    >>> prior = Hierarchical((4, 2))
    >>> sorted(pyro.poutine.trace(prior).get_trace().stochastic_nodes)
    ['z1', 'z2']
    """

    def __init__(
        self, latent_dims: Sequence[int], hidden: Sequence[int] = (100,), *, name: str = "z"
    ) -> None:
        super().__init__()
        arguments.wholes(2, latent_dims=latent_dims)
        arguments.text(name=name)
        self.name = name
        self.loc = nn.Buffer(torch.zeros(latent_dims[-1]))
        self.networks = nn.ModuleList(
            NormalMLP(parent, child, hidden) for child, parent in pairwise(latent_dims)
        )

    @property
    def latent_dims(self) -> tuple[int, ...]:
        """D_1, ..., D_L."""
        networks: Any = self.networks
        return (*(network.loc.out_features for network in networks), len(self.loc))

    @property
    def hidden(self) -> tuple[int, ...]:
        """Width of each hidden layer of the networks."""
        layers = self.networks[0].get_submodule("body").children()
        return tuple(layer.out_features for layer in layers if isinstance(layer, nn.Linear))

    def forward(self) -> Tensor:
        """Sample z_L, ..., z_1 and return z_1, ``[D_1]``."""
        level = len(self.networks) + 1
        z: Tensor = pyro.sample(f"{self.name}{level}", dist.Normal(self.loc, 1.0).to_event(1))
        for network in reversed(self.networks):
            level -= 1
            z = pyro.sample(f"{self.name}{level}", network(z))
        return z


class BottomUpEncoder(nn.Module):
    r"""A guide of :class:`Hierarchical` that reverses the model's order.

    .. math:: q(z|x) = q(z_1|x) \prod_{l=2}^{L} q(z_l | z_{l-1})

    A program to be run inside the data plate: it samples the sites itself and returns nothing.

    Args:
        in_dim: Length of a datum.
        latent_dims: As the prior's.
        hidden: Width of each hidden layer.
        name: As the prior's.

    >>> sites = pyro.poutine.trace(BottomUpEncoder(3, (4, 2))).get_trace(torch.zeros(3))
    >>> list(sites.stochastic_nodes)
    ['z1', 'z2']
    """

    def __init__(
        self,
        in_dim: int,
        latent_dims: Sequence[int],
        hidden: Sequence[int] = (100,),
        *,
        name: str = "z",
    ) -> None:
        super().__init__()
        arguments.wholes(1, latent_dims=latent_dims)
        arguments.text(name=name)
        self.name = name
        self.networks = nn.ModuleList(
            NormalMLP(before, after, hidden) for before, after in pairwise([in_dim, *latent_dims])
        )

    def forward(self, x: Float[Tensor, "*batch in_dim"]) -> None:
        """Sample z_1, ..., z_L."""
        for level, network in enumerate(self.networks, 1):
            x = pyro.sample(f"{self.name}{level}", network(x))


class TopDownEncoder(nn.Module):
    r"""A guide of :class:`Hierarchical` that follows the model's order.

    .. math:: q(z|x) = q(z_L|x) \prod_{l=1}^{L-1} q(z_l | z_{l+1}, x)

    A program to be run inside the data plate: it samples the sites itself and returns nothing.

    Args:
        in_dim: Length of a datum.
        latent_dims: As the prior's.
        hidden: Width of each hidden layer.
        name: As the prior's.

    >>> sites = pyro.poutine.trace(TopDownEncoder(3, (4, 2))).get_trace(torch.zeros(3))
    >>> list(sites.stochastic_nodes)
    ['z2', 'z1']
    """

    def __init__(
        self,
        in_dim: int,
        latent_dims: Sequence[int],
        hidden: Sequence[int] = (100,),
        *,
        name: str = "z",
    ) -> None:
        super().__init__()
        arguments.annotated(TopDownEncoder.__init__, locals(), in_dim=1)
        arguments.wholes(1, latent_dims=latent_dims)
        self.name = name
        parents = [*latent_dims[1:], 0]
        self.networks = nn.ModuleList(
            NormalMLP(in_dim + parent, child, hidden)
            for child, parent in zip(latent_dims, parents, strict=True)
        )

    def forward(self, x: Float[Tensor, "*batch in_dim"]) -> None:
        """Sample z_L, ..., z_1."""
        level, inputs = len(self.networks), x
        for network in reversed(self.networks):
            z = pyro.sample(f"{self.name}{level}", network(inputs))
            inputs = torch.cat([x.expand(*z.shape[:-1], -1), z], -1)
            level -= 1
