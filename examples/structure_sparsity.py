"""Sparsity: pictures with a few bars each, and a prior under which most latents are off."""

from functools import partial
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, BetaELBO, Experiment
from pyro_decomp.networks import MLPEncoder
from pyro_decomp.priors import IsotropicNormal, SpikeAndSlab

SIDE = 6  # pixels of a picture
SOURCES = 2 * SIDE - 1  # all lying bars together are all standing ones: one of these is left out
ON = 0.2  # probability that a bar is in a picture
NOISE = 0.2  # standard deviation of each pixel


def dictionary() -> Tensor:
    """One bar a row, ``[11, 36]``: six lying, five standing."""
    lying = torch.eye(SIDE)[:, :, None].expand(SIDE, SIDE, SIDE)
    return torch.cat([lying, lying.mT[:-1]]).flatten(1)


def bars(size: int = 2000, *, seed: int = 0, draw: int = 0) -> tuple[Tensor, Tensor]:
    """Pictures ``[size, 36]``, and the brightness of each bar in them, ``[size, 11]``, often 0."""
    drawn = torch.Generator().manual_seed(2 * seed + draw)
    on = torch.rand(size, SOURCES, generator=drawn) < ON
    sources = on * torch.randn(size, SOURCES, generator=drawn)
    noise = NOISE * torch.randn(size, SIDE**2, generator=drawn)
    return sources @ dictionary() + noise, sources


class LinearDecoder(nn.Module):
    """p(x|z): a weighted sum of learned pictures, with noise of a learned scale."""

    def __init__(self, latent_dim: int, out_dim: int):
        super().__init__()
        self.loc = nn.Linear(latent_dim, out_dim)
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        """The pictures of codes ``[B, D]``."""
        return dist.Normal(self.loc(z), self.log_scale.exp()).to_event(1)


def experiment(
    prior: Literal["sparse", "isotropic"] = "sparse",
    *,
    gamma: float = 1 - ON,
    spike_scale: float = 0.05**0.5,
    beta: float = 1.0,
    hidden: int = 128,
    epochs: int = 60,
    batch_size: int = 200,
    lr: float = 1e-2,
    data_seed: int = 0,
) -> Experiment:
    """The same networks and objective, with sparsity in the prior or without.

    Args:
        prior: A spike and a slab in each dimension, or the standard Normal.
        gamma: Probability of the spike.
        spike_scale: Standard deviation of the spike; that of the slab is 1.
        beta: Weight of KL(q(z|x) || p(z)).
        hidden: Units of the encoder's hidden layer.
        epochs: Passes over the 2000 pictures.
        batch_size: Pictures a step.
        lr: Learning rate of Adam.
        data_seed: Of the data.
    """
    x, _ = bars(seed=data_seed)
    sparse = SpikeAndSlab(SOURCES, gamma, spike_scale)
    vae = VAE(
        sparse if prior == "sparse" else IsotropicNormal(SOURCES),
        encoder=MLPEncoder(SIDE**2, SOURCES, hidden=(hidden,)),
        decoder=LinearDecoder(SOURCES, SIDE**2),
        size=len(x),
    )
    return Experiment(
        vae.model,
        vae.guide,
        data=x,
        test_data=bars(seed=data_seed, draw=1)[0],
        elbo=BetaELBO(beta),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
