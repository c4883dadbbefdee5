"""A learned number without dimensions: the scale of the likelihood."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import BetaELBO, Experiment

NUM_DATA = 50


class LearnedNoise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(2, 4)
        self.log_scale = nn.Parameter(torch.tensor(0.0))

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            noise = self.log_scale.exp()
            pyro.sample("x", dist.Normal(self.decoder(z), noise).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            loc, log_scale = self.encoder(x).split(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def experiment(beta: float = 1.0, epochs: int = 3000) -> Experiment:
    programs = LearnedNoise()
    x = torch.randn(NUM_DATA, 4, generator=torch.Generator().manual_seed(0))
    return Experiment(programs.model, programs.guide, x, BetaELBO(beta), epochs=epochs)
