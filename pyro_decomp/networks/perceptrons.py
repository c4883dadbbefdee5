"""Perceptrons between vectors, and from vectors to a logit."""

from collections.abc import Sequence

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.networks.layers import hidden_layers, leading_shape, normal


class NormalMLP(nn.Module):
    r"""A Normal whose location and scale are two linear heads on one perceptron.

    .. math::
        h = \mathrm{ReLU}(\dots), \quad
        \mathrm{loc} = A h + a, \quad
        \mathrm{scale} = \mathrm{softplus}(B h + b) + 10^{-6}

    Args:
        in_dim: Length of an input.
        out_dim: Length of the event, ``Normal(loc, scale).to_event(1)``.
        hidden: Width of each hidden layer.

    Reference:
        Mathieu et al., Disentangling disentanglement in variational autoencoders, 2019,
        section 6.2, https://arxiv.org/abs/1812.02833.

    >>> import torch
    >>> NormalMLP(3, 2)(torch.zeros(7, 3))
    Independent(Normal(loc: torch.Size([7, 2]), scale: torch.Size([7, 2])), 1)
    """

    def __init__(self, in_dim: int, out_dim: int, hidden: Sequence[int] = (100,)) -> None:
        super().__init__()
        arguments.whole(in_dim=in_dim, out_dim=out_dim)
        arguments.wholes(hidden=hidden)
        self.in_dim = in_dim
        widths = [in_dim, *hidden]
        self.body = hidden_layers(widths, nn.ReLU)
        self.loc = nn.Linear(widths[-1], out_dim)
        self.scale = nn.Linear(widths[-1], out_dim)

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        """Map inputs of shape ``(..., in_dim)``, with any leading dimensions, to distributions.

        Returns:
            ``Normal(loc, scale).to_event(1)``.

        Raises:
            ArgumentError: The input has another length.
        """
        leading_shape(x, (self.in_dim,))
        features = self.body(x)
        return normal(self.loc(features), self.scale(features))


class MLPEncoder(NormalMLP):
    """q(z|x): a :class:`NormalMLP` from data to latents.

    Args:
        in_dim: Length of a datum.
        latent_dim: Length of a latent.
        hidden: Width of each hidden layer.
    """

    def __init__(self, in_dim: int, latent_dim: int, hidden: Sequence[int] = (100,)) -> None:
        arguments.whole(latent_dim=latent_dim)
        super().__init__(in_dim, latent_dim, hidden)


class MLPDecoder(NormalMLP):
    """p(x|z): a :class:`NormalMLP` from latents to data, so the scale of the data is learned too.

    Args:
        latent_dim: Length of a latent.
        out_dim: Length of a datum.
        hidden: Width of each hidden layer.
    """

    def __init__(self, latent_dim: int, out_dim: int, hidden: Sequence[int] = (100,)) -> None:
        arguments.whole(latent_dim=latent_dim)
        super().__init__(latent_dim, out_dim, hidden)


class Discriminator(nn.Module):
    """A perceptron of LeakyReLU with one logit, which tells samples of two distributions apart.

    Args:
        in_dim: D, the length of a row; of codes, all latent sites together.
        hidden: Width of each hidden layer; by default the paper's six of 1000.
        slope: Of LeakyReLU below zero.

    Reference:
        Kim & Mnih, Disentangling by factorising, 2018, https://arxiv.org/abs/1802.05983. It has two
        logits there, of which only the difference matters.

    >>> import torch
    >>> Discriminator(2, hidden=(16,))(torch.zeros(7, 2)).shape
    torch.Size([7])
    """

    def __init__(
        self, in_dim: int, hidden: Sequence[int] = (1000,) * 6, slope: float = 0.2
    ) -> None:
        super().__init__()
        arguments.whole(in_dim=in_dim)
        arguments.wholes(hidden=hidden)
        arguments.number("[0, inf)", slope=slope)
        self.in_dim = in_dim
        widths = [in_dim, *hidden]
        self.body = hidden_layers(widths, lambda: nn.LeakyReLU(slope))
        self.logit = nn.Linear(widths[-1], 1)

    def forward(self, z: Tensor) -> Tensor:
        """Map rows of shape ``(..., in_dim)`` to logits.

        Returns:
            Logits of shape ``(...)``.

        Raises:
            ArgumentError: The rows have another length.
        """
        leading_shape(z, (self.in_dim,))
        logits: Tensor = self.logit(self.body(z)).squeeze(-1)
        return logits
