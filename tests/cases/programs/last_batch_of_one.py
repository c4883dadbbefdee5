"""Batch statistics and a last batch of one datum: N = B + 1."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, AggregateELBO, Experiment


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        loc, log_scale = self.layers(x).split(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.linear(z), 0.3).to_event(1)


def prior() -> Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def experiment(
    epochs: int = 5, n: int = 33, batch_size: int = 32, alpha: float = 0.0
) -> Experiment:
    torch.manual_seed(0)
    vae = VAE(prior, Encoder(), Decoder(), size=n)
    return Experiment(
        vae.model,
        vae.guide,
        data=torch.randn(n, 3),
        elbo=AggregateELBO(alpha=alpha),
        epochs=epochs,
        batch_size=batch_size,
    )
