"""A linear-Gaussian model whose programs are scaled by the user: log p(x) is known exactly."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import BetaELBO, Experiment

NUM_DATA = 100


class Scaled(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.decoder, self.scale = nn.Linear(2, 2), scale

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x), poutine.scale(scale=self.scale):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x), poutine.scale(scale=self.scale):
            pyro.sample("z", dist.Normal(x * 0.3, 0.8).to_event(1))


def experiment(scale: float = 1.0) -> Experiment:
    torch.manual_seed(0)
    scaled = Scaled(scale)
    x = torch.randn(NUM_DATA, 2)
    return Experiment(scaled.model, scaled.guide, data=x, elbo=BetaELBO(), epochs=1)
