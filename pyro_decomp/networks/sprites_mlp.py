"""The perceptrons of the beta-TCVAE for dSprites."""

from collections.abc import Sequence
from itertools import pairwise

import pyro.distributions as dist
from jaxtyping import Float
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.networks.event_shape import leading_shape
from pyro_decomp.networks.perceptrons import MLPEncoder


class SpritesMLPEncoder(nn.Module):
    """q(z|x) for grey images: a Normal from an :class:`MLPEncoder` of the pixels, with ReLU.

    Args:
        latent_dim: Length of a latent.
        size: Height and width of an image.
        hidden: Width of each hidden layer; the paper's by default.

    Reference:
        Chen et al., Isolating sources of disentanglement in variational autoencoders, 2018,
        https://arxiv.org/abs/1802.04942; after Higgins et al., beta-VAE, 2017,
        https://openreview.net/forum?id=Sy2fzU9gl.
    """

    def __init__(
        self, latent_dim: int, size: int = 64, hidden: Sequence[int] = (1200, 1200)
    ) -> None:
        super().__init__()
        arguments.whole(latent_dim=latent_dim, size=size)
        arguments.wholes(hidden=hidden)
        self.event_shape = (1, size, size)
        self.perceptron = MLPEncoder(size * size, latent_dim, hidden)

    def forward(self, x: Float[Tensor, "*batch 1 size size"]) -> dist.TorchDistribution:
        """``Normal(loc, scale).to_event(1)``.

        Raises:
            ValueError: The images have another shape.
        """
        leading_shape(x, self.event_shape)
        return self.perceptron(x.flatten(-3))


class SpritesMLPDecoder(nn.Module):
    """p(x|z) for images of black and white: a Bernoulli from a perceptron with tanh.

    Args:
        latent_dim: Length of a latent.
        size: Height and width of an image.
        hidden: Width of each hidden layer; the paper's by default.

    Reference:
        As :class:`SpritesMLPEncoder`.
    """

    def __init__(
        self, latent_dim: int, size: int = 64, hidden: Sequence[int] = (1200, 1200, 1200)
    ) -> None:
        super().__init__()
        arguments.whole(latent_dim=latent_dim, size=size)
        arguments.wholes(hidden=hidden)
        self.latent_dim = latent_dim
        self.event_shape = (1, size, size)
        widths = [latent_dim, *hidden]
        layers = [[nn.Linear(width, after), nn.Tanh()] for width, after in pairwise(widths)]
        self.body = nn.Sequential(*[module for layer in layers for module in layer])
        self.logits = nn.Linear(widths[-1], size * size)

    def forward(self, z: Float[Tensor, "*batch d"]) -> dist.TorchDistribution:
        """``Bernoulli(logits=logits).to_event(3)``.

        Raises:
            ValueError: The latents have another length.
        """
        leading_shape(z, (self.latent_dim,))
        logits = self.logits(self.body(z)).unflatten(-1, self.event_shape)
        return dist.Bernoulli(logits=logits).to_event(3)
