"""A beta-VAE and a beta-TCVAE on 64 x 64 sprites by hand."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from hand_written.network_step import Body, NetworkStep, TwoHeads


class Sprites(NetworkStep):
    """The convolutions of Kim & Mnih (2018), Bernoulli pixels, a standard Normal prior.

    What was tried, in milliseconds a step of 64 pictures on one thread of an Intel Xeon (AVX-512
    and AMX, torch 2.14, 2026-11-22), the least of many:

    ================================================= ======== =========
    ..                                                 float32  bfloat16
    ================================================= ======== =========
    operations one by one, contiguous                      162        92
    the same in ``channels_last``                          138        63
    the whole loss compiled, ``channels_last``             133        68
    activations in place, densities compiled, as here      120        58
    ================================================= ======== =========

    The last transposed convolution, from 32 channels to 1, takes 12 ms forward; as a convolution of
    3 x 3 with a pixel shuffle, as a product with ``fold``, or with shifted sums, it takes no less
    forward and backward. A C library that keeps freed memory (glibc's ``mallopt``) takes off
    another 10 to 20 per cent of any of these.

    Args:
        x: The batch, ``[B, 1, 64, 64]``.
        beta: Weight of the KL, or of the total correlation.
        total_correlation: Weigh the total correlation alone, by the averaged stratified estimator.
        num_data: N, of which the batch is a part.
        latent_dim: Dimensions of z.
        lr: Learning rate.
        bfloat16: Run the networks under autocast.
        compiled: Compile the densities.
    """

    def __init__(
        self,
        x: Tensor,
        beta: float = 4.0,
        *,
        total_correlation: bool = False,
        num_data: int = 737_280,
        latent_dim: int = 10,
        lr: float = 5e-4,
        bfloat16: bool = False,
        compiled: bool = True,
    ) -> None:
        body = nn.Sequential(
            *(nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(32, 32, 4, 2, 1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(64, 64, 4, 2, 1), nn.ReLU(inplace=True)),
            nn.Flatten(),
            nn.Linear(1024, 128),
        )
        decoder = nn.Sequential(
            *(nn.Linear(latent_dim, 128), nn.ReLU(inplace=True)),
            *(nn.Linear(128, 1024), nn.ReLU(inplace=True)),
            nn.Unflatten(-1, (64, 4, 4)),
            *(nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU(inplace=True)),
            *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(inplace=True)),
            *(nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.ReLU(inplace=True)),
            nn.ConvTranspose2d(32, 1, 4, 2, 1),
        )
        encoder = TwoHeads(body, nn.Linear(128, latent_dim), nn.Linear(128, latent_dim))
        super().__init__(
            encoder,
            Body(decoder, latent_dim),
            x,
            latent_dim=latent_dim,
            lr=lr,
            bfloat16=bfloat16,
            compiled=compiled,
        )
        self.beta = beta
        self.num_data = num_data
        self._objective = self.density(self.tcvae if total_correlation else self.beta_vae)

    def noise(self) -> tuple[Tensor]:
        """Standard draws for the codes."""
        return (torch.randn(len(self.x), self.latent_dim),)

    def loss(self, *noise: Tensor) -> Tensor:
        """Minus the objective at codes of this noise, ``[B, D]``."""
        (eps,) = noise
        loc, scale = self.encoded()
        z = loc + scale * eps
        return -self._objective(self.x, self.decoded(z), z, loc, scale)

    def beta_vae(self, x: Tensor, logits: Tensor, z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        """E[log p(x|z)] - beta KL."""
        del z
        return (log_likelihood(x, logits) - self.beta * kl(loc, scale)).mean()

    def tcvae(self, x: Tensor, logits: Tensor, z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        """E[log p(x|z)] - KL - (beta - 1) TC."""
        elbo = (log_likelihood(x, logits) - kl(loc, scale)).mean()
        correlation = total_correlation(z, loc, scale, self.num_data)
        return elbo - (self.beta - 1) * correlation


def log_likelihood(x: Tensor, logits: Tensor) -> Tensor:
    """Log p(x|z) of Bernoulli pixels, ``[B]``."""
    return (logits * x - softplus(logits)).flatten(1).sum(1)


def kl(loc: Tensor, scale: Tensor) -> Tensor:
    """KL(q(z|x) || Normal(0, 1)), ``[B]``."""
    return (0.5 * (loc.square() + scale.square() - 1) - scale.log()).sum(1)


def total_correlation(z: Tensor, loc: Tensor, scale: Tensor, num_data: int) -> Tensor:
    """E[log q(z) - sum_d log q(z_d)], stratified and averaged over which datum is set apart."""
    b, n = len(z), num_data
    own, other = 1 / n, (n - 1) / (n * (b - 1))
    log_weights = torch.eye(b) * math.log(own / other) + math.log(other)
    residual = (z.T[:, :, None] - loc.T[:, None]) / scale.T[:, None]
    pairs = -0.5 * residual.square() - scale.log().T[:, None] - 0.5 * math.log(2 * math.pi)
    joint = (pairs.sum(0) + log_weights).logsumexp(-1)
    return (joint - (pairs + log_weights).logsumexp(-1).sum(0)).mean()
