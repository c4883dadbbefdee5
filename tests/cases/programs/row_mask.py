"""Padding rows, masked out of the whole data plate: the padded half must not matter."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, ExclusiveKL, Experiment

NUM_REAL = 200


class Masked(nn.Module):
    def __init__(self, num_data: int) -> None:
        super().__init__()
        self.num_data, self.decoder = num_data, nn.Linear(2, 2)

    def model(self, x: Tensor, is_real: Tensor) -> None:
        with pyro.plate("data", self.num_data, subsample=x), poutine.mask(mask=is_real):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor, is_real: Tensor) -> None:
        with pyro.plate("data", self.num_data, subsample=x), poutine.mask(mask=is_real):
            pyro.sample("z", dist.Normal(x, 0.5).to_event(1))


def experiment(epochs: int = 1, padding: int = 200) -> Experiment:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(NUM_REAL, 2, generator=generator) * 0.87
    x = torch.cat([real, torch.full((padding, 2), 9.0)])
    masked = Masked(len(x))
    return Experiment(
        masked.model,
        masked.guide,
        data=(x, torch.arange(len(x)) < NUM_REAL),
        elbo=AggregateELBO(alpha=1.0, divergence=ExclusiveKL()),
        epochs=epochs,
    )
