"""Independent subspaces: gratings of any phase, each of which is a subspace of two latents."""

import math
from functools import partial
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, BetaELBO, Experiment
from pyro_decomp.networks import MLPEncoder
from pyro_decomp.priors import IndependentSubspaces, IsotropicNormal

SIDE = 6  # pixels of a picture
WAVES = ((1, 0), (0, 1), (1, 1), (1, -1))  # periods across and down, of each grating
GROUPS, LATENTS = len(WAVES), 2 * len(WAVES)
ON = 0.3  # probability that a grating is in a picture
NOISE = 0.3  # standard deviation of each pixel


def dictionary() -> Tensor:
    """The gratings as a cosine and a sine each, ``[8, 36]``; any phase is a sum of the two."""
    place = (torch.arange(SIDE) + 0.5) / SIDE
    down, across = torch.meshgrid(place, place, indexing="ij")
    phase = torch.stack([2 * math.pi * (i * across + j * down) for i, j in WAVES])
    return 2**0.5 * torch.stack([phase.cos(), phase.sin()], 1).view(LATENTS, SIDE**2)


def gratings(size: int = 2000, *, seed: int = 0, draw: int = 0) -> tuple[Tensor, Tensor]:
    """Pictures ``[size, 36]``, and the cosine and sine of each grating in them, ``[size, 8]``.

    A grating is off, or on with a random strength and phase: the two numbers of one grating depend
    on each other, and not on those of another.
    """
    drawn = torch.Generator().manual_seed(2 * seed + draw)
    on = torch.rand(size, GROUPS, 1, generator=drawn) < ON
    sources = (on * torch.randn(size, GROUPS, 2, generator=drawn)).flatten(1)
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
    prior: Literal["subspaces", "isotropic"] = "subspaces",
    *,
    outer: float = 0.5,
    beta: float = 1.0,
    hidden: int = 128,
    epochs: int = 60,
    batch_size: int = 200,
    lr: float = 1e-2,
    data_seed: int = 0,
) -> Experiment:
    """The same networks and objective, with subspaces in the prior or without.

    Args:
        prior: Four independent groups of two dimensions, or the standard Normal.
        outer: Power of a group's length in the prior; 2 is the standard Normal, and the smaller,
            the fewer groups are large at a time.
        beta: Weight of KL(q(z|x) || p(z)).
        hidden: Units of the encoder's hidden layer.
        epochs: Passes over the 2000 pictures.
        batch_size: Pictures a step.
        lr: Learning rate of Adam.
        data_seed: Of the data.
    """
    x, _ = gratings(seed=data_seed)
    subspaces = IndependentSubspaces((2,) * GROUPS, outer=outer)
    vae = VAE(
        subspaces if prior == "subspaces" else IsotropicNormal(LATENTS),
        encoder=MLPEncoder(SIDE**2, LATENTS, hidden=(hidden,)),
        decoder=LinearDecoder(LATENTS, SIDE**2),
        size=len(x),
    )
    return Experiment(
        vae.model,
        vae.guide,
        data=x,
        test_data=gratings(seed=data_seed, draw=1)[0],
        elbo=BetaELBO(beta),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
