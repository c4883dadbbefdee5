"""Networks with lazy, spectral-normed, weight-normed, tied and frozen weights."""

from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from pyro_decomp import VAE, AggregateELBO, Experiment

Kind = Literal["plain", "lazy", "spectral", "weight", "tied", "frozen"]


def first_layer(kind: str) -> nn.Module:
    if kind == "lazy":
        return nn.LazyLinear(8)
    linear = nn.Linear(3, 8)
    if kind == "spectral":
        return spectral_norm(linear)
    if kind == "weight":
        return weight_norm(linear)
    return linear.requires_grad_(kind != "frozen")


class Encoder(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.first, self.head = first_layer(kind), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        loc, log_scale = self.head(torch.relu(self.first(x))).split(2, -1)
        return dist.Normal(loc, log_scale.exp()).to_event(1)


class Decoder(nn.Module):
    def __init__(self, encoder: Encoder, is_tied: bool) -> None:
        super().__init__()
        own = nn.Parameter(torch.randn(8, 3) * 0.3)
        self.linear, self.weight = nn.Linear(2, 8), encoder.first.weight if is_tied else own

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        return dist.Normal(torch.relu(self.linear(z)) @ self.weight, 0.3).to_event(1)


def prior() -> Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def experiment(kind: Kind = "plain", epochs: int = 600) -> Experiment:
    encoder = Encoder(kind)
    vae = VAE(prior, encoder, Decoder(encoder, kind == "tied"), size=64)
    x = torch.randn(64, 3)
    return Experiment(vae.model, vae.guide, data=x, elbo=AggregateELBO(alpha=0.0), epochs=epochs)
