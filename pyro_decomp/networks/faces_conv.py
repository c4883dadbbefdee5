"""The convolutions of the beta-TCVAE for faces."""

import pyro.distributions as dist
from jaxtyping import Float
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.networks.layers import leading_shape, normal


class FacesConvEncoder(nn.Module):
    """q(z|x) for images of 64 by 64 pixels: a Normal from five convolutions.

    Convolutions of 32, 32, 64 and 64 channels (kernel 4, stride 2, padding 1) and one of 512
    (kernel 4, padding 0), each with batch normalisation and ReLU; from its 512 numbers the location
    and, through softplus + 1e-6, the scale. While training, batch normalisation takes its mean and
    variance over all leading dimensions.

    Args:
        latent_dim: Length of a latent.
        channels: Colours of an image.

    Reference:
        Chen et al., Isolating sources of disentanglement in variational autoencoders, 2018,
        https://arxiv.org/abs/1802.04942; sizes as in its code.
    """

    def __init__(self, latent_dim: int, channels: int = 1) -> None:
        super().__init__()
        arguments.whole(latent_dim=latent_dim, channels=channels)
        self.event_shape = (channels, 64, 64)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 4, stride=2, padding=1),
            *_normalised(32),
            nn.Conv2d(32, 32, 4, stride=2, padding=1),
            *_normalised(32),
            nn.Conv2d(32, 64, 4, stride=2, padding=1),
            *_normalised(64),
            nn.Conv2d(64, 64, 4, stride=2, padding=1),
            *_normalised(64),
            nn.Conv2d(64, 512, 4),
            *_normalised(512),
            nn.Flatten(),
        )
        self.loc = nn.Linear(512, latent_dim)
        self.scale = nn.Linear(512, latent_dim)

    def forward(self, x: Float[Tensor, "*batch channels 64 64"]) -> dist.TorchDistribution:
        """Encode images.

        Returns:
            ``Normal(loc, scale).to_event(1)``.

        Raises:
            ArgumentError: The images have another shape.
        """
        leading = leading_shape(x, self.event_shape)
        features = self.body(x.reshape(-1, *self.event_shape)).reshape(*leading, -1)
        return normal(self.loc(features), self.scale(features))


class FacesConvDecoder(nn.Module):
    """p(x|z) for images of 64 by 64 pixels in grey: the mirror of :class:`FacesConvEncoder`.

    Transposed convolutions to 512 (kernel 1) and 64 channels (kernel 4, padding 0), then 64, 32, 32
    and ``channels`` (kernel 4, stride 2, padding 1), with batch normalisation and ReLU between all.

    The likelihood is a continuous Bernoulli, a density of grey levels in [0, 1]. The paper has the
    Bernoulli's formula, which is no density of them (Loaiza-Ganem & Cunningham, The continuous
    Bernoulli, 2019, https://arxiv.org/abs/1907.06845).

    Args:
        latent_dim: Length of a latent.
        channels: Colours of an image.

    Reference:
        As :class:`FacesConvEncoder`.
    """

    def __init__(self, latent_dim: int, channels: int = 1) -> None:
        super().__init__()
        arguments.whole(latent_dim=latent_dim, channels=channels)
        self.latent_dim = latent_dim
        self.event_shape = (channels, 64, 64)
        self.body = nn.Sequential(
            nn.ConvTranspose2d(latent_dim, 512, 1),
            *_normalised(512),
            nn.ConvTranspose2d(512, 64, 4),
            *_normalised(64),
            nn.ConvTranspose2d(64, 64, 4, stride=2, padding=1),
            *_normalised(64),
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            *_normalised(32),
            nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1),
            *_normalised(32),
            nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1),
        )

    def forward(self, z: Float[Tensor, "*batch d"]) -> dist.TorchDistribution:
        """Decode latents.

        Returns:
            ``ContinuousBernoulli(logits=logits).to_event(3)``.

        Raises:
            ArgumentError: The latents have another length.
        """
        leading = leading_shape(z, (self.latent_dim,))
        images = self.body(z.reshape(-1, self.latent_dim, 1, 1))
        logits = images.reshape(*leading, *self.event_shape)
        return dist.ContinuousBernoulli(logits=logits).to_event(3)


def _normalised(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.ReLU()
