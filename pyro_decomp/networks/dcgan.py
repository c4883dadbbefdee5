"""Convolutions of DCGAN's kind for images of 32 by 32 pixels, as for Fashion-MNIST."""

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.networks.layers import leading_shape, normal


class ConvEncoder32(nn.Module):
    """q(z|x) for images of 32 by 32 pixels: a Normal from a discriminator of DCGAN's kind.

    Convolutions of 32, 64 and 128 channels (kernel 4, stride 2, padding 1, no bias) with LeakyReLU
    of slope 0.2, batch normalisation from the second; then two convolutions to ``latent_dim``
    (kernel 4) for the location and, through softplus + 1e-6, the scale. Weights of convolutions
    start from N(0, 0.02) and their biases from 0. Batch normalisation starts from weight 1 and
    bias 0 as in the paper's code, where DCGAN itself draws that weight from N(1, 0.02).

    While training, batch normalisation takes its mean and variance over all leading dimensions.

    Args:
        latent_dim: Length of a latent.
        channels: Colours of an image.

    Reference:
        Mathieu et al., Disentangling disentanglement in variational autoencoders, 2019,
        section 6.3, https://arxiv.org/abs/1812.02833; after Radford et al., Unsupervised
        representation learning with deep convolutional generative adversarial networks, 2016,
        https://arxiv.org/abs/1511.06434.
    """

    def __init__(self, latent_dim: int, channels: int = 1) -> None:
        super().__init__()
        arguments.whole(latent_dim=latent_dim, channels=channels)
        self.event_shape = (channels, 32, 32)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 4, stride=2, padding=1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(32, 64, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.LeakyReLU(0.2),
            nn.Conv2d(64, 128, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(128),
            nn.LeakyReLU(0.2),
        )
        self.loc = nn.Conv2d(128, latent_dim, 4)
        self.scale = nn.Conv2d(128, latent_dim, 4)
        _initialise_convolutions(self)

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        """Encode images of shape ``(..., channels, 32, 32)``.

        Returns:
            ``Normal(loc, scale).to_event(1)``.

        Raises:
            ArgumentError: The images have another shape.
        """
        leading = leading_shape(x, self.event_shape)
        features = self.body(x.reshape(-1, *self.event_shape))
        loc, raw_scale = (head(features).reshape(*leading, -1) for head in (self.loc, self.scale))
        return normal(loc, raw_scale)


class ConvDecoder32(nn.Module):
    """p(x|z) for images of 32 by 32 pixels: a Laplace from a generator of DCGAN's kind.

    Transposed convolutions without bias from ``latent_dim`` to 128 (kernel 4), 64, 32 and
    ``channels`` (kernel 4, stride 2, padding 1), batch normalisation and ReLU between them; the
    location is what the last gives. Initial values, batch statistics and references as
    :class:`ConvEncoder32`.

    Args:
        latent_dim: Length of a latent.
        channels: Colours of an image.
        scale: Of the Laplace, in the unit of the pixels; not learned.

    Raises:
        ArgumentError: ``scale`` is not positive.
    """

    def __init__(self, latent_dim: int, channels: int = 1, scale: float = 0.1) -> None:
        super().__init__()
        arguments.whole(latent_dim=latent_dim, channels=channels)
        arguments.number("(0, inf)", scale=scale)
        self.latent_dim = latent_dim
        self.event_shape = (channels, 32, 32)
        self.scale = scale
        self.body = nn.Sequential(
            nn.ConvTranspose2d(latent_dim, 128, 4, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1, bias=False),
        )
        _initialise_convolutions(self)

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        """Decode latents of shape ``(..., latent_dim)``.

        Returns:
            ``Laplace(loc, scale).to_event(3)``.

        Raises:
            ArgumentError: The latents have another length.
        """
        leading = leading_shape(z, (self.latent_dim,))
        loc = self.body(z.reshape(-1, self.latent_dim, 1, 1)).reshape(*leading, *self.event_shape)
        return dist.Laplace(loc, self.scale).to_event(3)


def _initialise_convolutions(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
