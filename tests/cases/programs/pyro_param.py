"""Networks built in ``experiment``; one learned number by ``pyro.param``."""

from functools import partial

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_decomp import AggregateELBO, Experiment

NUM_DATA, WIDTH = 100, 3


class LearnedNoise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(WIDTH, 4), nn.Linear(2, WIDTH)

    def model(self, x: Tensor) -> None:
        noise = pyro.param("noise", torch.tensor(1.0), constraint=constraints.positive)
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), noise).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            loc, log_scale = self.encoder(x).split(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def experiment(epochs: int = 50, lr: float = 0.05) -> Experiment:
    programs = LearnedNoise()
    x = torch.randn(NUM_DATA, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.1
    return Experiment(
        programs.model,
        programs.guide,
        data=x,
        elbo=AggregateELBO(alpha=0.0),
        epochs=epochs,
        optimizer=partial(torch.optim.Adam, lr=lr),
    )
