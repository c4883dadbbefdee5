"""Networks of the papers for images of sprites: FactorVAE's and the beta-TCVAE's."""

from collections.abc import Sequence

import pyro.distributions as dist
from jaxtyping import Float
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.networks.layers import hidden_layers, leading_shape, normal
from pyro_decomp.networks.perceptrons import MLPEncoder

_SHRINKAGE = 16  # of height and width, by four strides of 2


class SpritesConvEncoder(nn.Module):
    """q(z|x) for images: a Normal from four convolutions and two linear maps.

    Convolutions of 32, 32, 64 and 64 channels (kernel 4, stride 2, padding 1) with ReLU; a linear
    map to ``hidden`` numbers, with nothing behind it; from these the location and, through softplus
    + 1e-6, the scale.

    Args:
        latent_dim: Length of a latent.
        size: Height and width of an image, a multiple of 16; 64 in the papers. At 32 the linear map
            takes 256 numbers instead of 1024, and all else is the same.
        channels: Colours of an image.
        hidden: 128 for dSprites; the papers take 256 for images in colour.

    Raises:
        ArgumentError: ``size`` is no positive multiple of 16.

    Reference:
        Kim & Mnih, Disentangling by factorising, 2018, appendix A,
        https://arxiv.org/abs/1802.05983; Mathieu et al., Disentangling disentanglement in
        variational autoencoders, 2019, section 6.1, https://arxiv.org/abs/1812.02833.
    """

    def __init__(
        self, latent_dim: int, size: int = 64, channels: int = 1, hidden: int = 128
    ) -> None:
        super().__init__()
        arguments.whole(latent_dim=latent_dim, channels=channels, hidden=hidden)
        side = _side(size)
        self.event_shape = (channels, size, size)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * side * side, hidden),
        )
        self.loc = nn.Linear(hidden, latent_dim)
        self.scale = nn.Linear(hidden, latent_dim)

    def forward(self, x: Float[Tensor, "*batch channels size size"]) -> dist.TorchDistribution:
        """Encode images.

        Returns:
            ``Normal(loc, scale).to_event(1)``.

        Raises:
            ArgumentError: The images have another shape.
        """
        leading = leading_shape(x, self.event_shape)
        features = self.body(x.reshape(-1, *self.event_shape)).reshape(*leading, -1)
        return normal(self.loc(features), self.scale(features))


class SpritesConvDecoder(nn.Module):
    """p(x|z) for images of black and white: a Bernoulli, the mirror of :class:`SpritesConvEncoder`.

    Linear maps to ``hidden`` numbers and to 64 small images, then transposed convolutions to 64,
    32, 32 and ``channels`` (kernel 4, stride 2, padding 1), with ReLU between all. The public code
    of Mathieu et al. has 64 instead of the first 32.

    Args:
        latent_dim: Length of a latent.
        size: Height and width of an image, a multiple of 16; 64 in the papers.
        channels: Colours of an image.
        hidden: 128 for dSprites; the papers take 256 for images in colour.

    Raises:
        ArgumentError: ``size`` is no positive multiple of 16.

    Reference:
        As :class:`SpritesConvEncoder`.
    """

    def __init__(
        self, latent_dim: int, size: int = 64, channels: int = 1, hidden: int = 128
    ) -> None:
        super().__init__()
        arguments.whole(latent_dim=latent_dim, channels=channels, hidden=hidden)
        side = _side(size)
        self.latent_dim = latent_dim
        self.event_shape = (channels, size, size)
        self.body = nn.Sequential(
            nn.Linear(latent_dim, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 64 * side * side),
            nn.ReLU(),
            nn.Unflatten(-1, (64, side, side)),
            nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1),
        )

    def forward(self, z: Float[Tensor, "*batch d"]) -> dist.TorchDistribution:
        """Decode latents.

        Returns:
            ``Bernoulli(logits=logits).to_event(3)``.

        Raises:
            ArgumentError: The latents have another length.
        """
        leading = leading_shape(z, (self.latent_dim,))
        logits = self.body(z.reshape(-1, self.latent_dim)).reshape(*leading, *self.event_shape)
        return dist.Bernoulli(logits=logits).to_event(3)


def _side(size: int) -> int:
    """The height and width of the smallest feature maps."""
    found = arguments.plain(size)
    if not isinstance(found, int) or found < 1 or found % _SHRINKAGE:
        arguments.refuse("size", f"a positive multiple of {_SHRINKAGE}", size)
    arguments.whole(size=size)  # and no larger than any can be
    return found // _SHRINKAGE


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
        """Encode images.

        Returns:
            ``Normal(loc, scale).to_event(1)``.

        Raises:
            ArgumentError: The images have another shape.
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
        self.body = hidden_layers(widths, nn.Tanh)
        self.logits = nn.Linear(widths[-1], size * size)

    def forward(self, z: Float[Tensor, "*batch d"]) -> dist.TorchDistribution:
        """Decode latents.

        Returns:
            ``Bernoulli(logits=logits).to_event(3)``.

        Raises:
            ArgumentError: The latents have another length.
        """
        leading_shape(z, (self.latent_dim,))
        logits = self.logits(self.body(z)).unflatten(-1, self.event_shape)
        return dist.Bernoulli(logits=logits).to_event(3)
