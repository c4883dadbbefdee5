"""Colour images [N, H, W, 3], bytes, as many files have them."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, AggregateELBO, Experiment
from pyro_decomp.data.stored import StoredArray

SIZE = 8


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(SIZE * SIZE * 3, 6)

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        loc, log_scale = self.linear(x.flatten(-3)).split(3, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, SIZE * SIZE * 3)

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.linear(z).unflatten(-1, (SIZE, SIZE, 3)), 0.3).to_event(3)


def prior() -> Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))


def experiment(epochs: int = 10) -> Experiment:
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (128, SIZE, SIZE, 3), dtype=np.uint8)
    vae = VAE(prior, Encoder(), Decoder(), size=len(images))
    return Experiment(
        vae.model,
        vae.guide,
        data=StoredArray(images, divisor=255),
        elbo=AggregateELBO(alpha=1.0),
        epochs=epochs,
        batch_size=32,
    )
