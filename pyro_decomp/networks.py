"""The encoders and decoders of the papers: modules whose forward returns a distribution."""

from collections.abc import Sequence
from itertools import pairwise

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

MIN_SCALE = 1e-6


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

    >>> NormalMLP(3, 2)(torch.zeros(7, 3))
    Independent(Normal(loc: torch.Size([7, 2]), scale: torch.Size([7, 2])), 1)
    """

    def __init__(self, in_dim: int, out_dim: int, hidden: Sequence[int] = (100,)) -> None:
        super().__init__()
        self.in_dim = in_dim
        widths = [in_dim, *hidden]
        layers = [[nn.Linear(width, after), nn.ReLU()] for width, after in pairwise(widths)]
        self.body = nn.Sequential(*[module for layer in layers for module in layer])
        self.loc = nn.Linear(widths[-1], out_dim)
        self.scale = nn.Linear(widths[-1], out_dim)

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        """The distribution for each input, shape ``(..., in_dim)``, with any leading dimensions.

        Raises:
            ValueError: The input has another length.
        """
        _leading_shape(x, (self.in_dim,))
        features = self.body(x)
        scale = softplus(self.scale(features)) + MIN_SCALE
        return dist.Normal(self.loc(features), scale).to_event(1)


class MLPEncoder(NormalMLP):
    """q(z|x): a :class:`NormalMLP` from data to latents.

    Args:
        in_dim: Length of a datum.
        latent_dim: Length of a latent.
        hidden: Width of each hidden layer.
    """

    def __init__(self, in_dim: int, latent_dim: int, hidden: Sequence[int] = (100,)) -> None:
        super().__init__(in_dim, latent_dim, hidden)


class MLPDecoder(NormalMLP):
    """p(x|z): a :class:`NormalMLP` from latents to data, so the scale of the data is learned too.

    Args:
        latent_dim: Length of a latent.
        out_dim: Length of a datum.
        hidden: Width of each hidden layer.
    """

    def __init__(self, latent_dim: int, out_dim: int, hidden: Sequence[int] = (100,)) -> None:
        super().__init__(latent_dim, out_dim, hidden)


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
        """``Normal(loc, scale).to_event(1)`` for images of shape ``(..., channels, 32, 32)``.

        Raises:
            ValueError: The images have another shape.
        """
        leading = _leading_shape(x, self.event_shape)
        features = self.body(x.reshape(-1, *self.event_shape))
        loc = self.loc(features).reshape(*leading, -1)
        scale = softplus(self.scale(features)).reshape(*leading, -1) + MIN_SCALE
        return dist.Normal(loc, scale).to_event(1)


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
        ValueError: ``scale`` is not positive.
    """

    def __init__(self, latent_dim: int, channels: int = 1, scale: float = 0.1) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"scale: expected a positive number, got {scale!r}")
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
        """``Laplace(loc, scale).to_event(3)`` for latents of shape ``(..., latent_dim)``.

        Raises:
            ValueError: The latents have another length.
        """
        leading = _leading_shape(z, (self.latent_dim,))
        loc = self.body(z.reshape(-1, self.latent_dim, 1, 1)).reshape(*leading, *self.event_shape)
        return dist.Laplace(loc, self.scale).to_event(3)


def _leading_shape(x: Tensor, event_shape: tuple[int, ...]) -> torch.Size:
    """The leading dimensions of an input whose last ones must be ``event_shape``."""
    split = x.dim() - len(event_shape)
    if split < 0 or x.shape[split:] != event_shape:
        expected = ", ".join(["...", *map(str, event_shape)])
        raise ValueError(f"expected an input of shape ({expected}), got {tuple(x.shape)}")
    return x.shape[:split]


def _initialise_convolutions(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class Discriminator(nn.Module):
    """One logit a row: a perceptron of LeakyReLU that tells samples of two distributions apart.

    Args:
        in_dim: D, the length of a row; of codes, all latent sites together.
        hidden: Width of each hidden layer; by default the paper's six of 1000.
        slope: Of LeakyReLU below zero.

    Reference:
        Kim & Mnih, Disentangling by factorising, 2018, https://arxiv.org/abs/1802.05983. It has two
        logits there, of which only the difference matters.

    >>> Discriminator(2, hidden=(16,))(torch.zeros(7, 2)).shape
    torch.Size([7])
    """

    def __init__(
        self, in_dim: int, hidden: Sequence[int] = (1000,) * 6, slope: float = 0.2
    ) -> None:
        super().__init__()
        self.in_dim = in_dim
        widths = [in_dim, *hidden]
        layers = [
            [nn.Linear(width, after), nn.LeakyReLU(slope)] for width, after in pairwise(widths)
        ]
        self.body = nn.Sequential(*[module for layer in layers for module in layer])
        self.logit = nn.Linear(widths[-1], 1)

    def forward(self, z: Tensor) -> Tensor:
        """Logits of shape ``(...)`` for rows of shape ``(..., in_dim)``.

        Raises:
            ValueError: The rows have another length.
        """
        _leading_shape(z, (self.in_dim,))
        logits: Tensor = self.logit(self.body(z)).squeeze(-1)
        return logits
