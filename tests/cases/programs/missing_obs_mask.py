"""Missing entries of a table: Pyro's ``obs_mask``, or a mask around the likelihood."""

from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment

NUM_DATA, WIDTH = 200, 4


class WithMissing(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.encoder, self.decoder, self.way = nn.Linear(WIDTH, 4), nn.Linear(2, WIDTH), way

    def model(self, x: Tensor, known: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x, dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            with pyro.plate("columns", WIDTH, dim=-2):
                each = dist.Normal(self.decoder(z).mT, 0.5)
                if self.way == "obs_mask":
                    pyro.sample("x", each, obs=x.mT, obs_mask=known.mT)
                else:
                    with poutine.mask(mask=known.mT):
                        pyro.sample("x", each, obs=x.mT)

    def guide(self, x: Tensor, known: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x, dim=-1):
            loc, log_scale = self.encoder(x * known).split(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def experiment(way: Literal["obs_mask", "mask"] = "obs_mask", epochs: int = 10) -> Experiment:
    torch.manual_seed(0)
    programs = WithMissing(way)
    data = torch.randn(NUM_DATA, WIDTH), torch.rand(NUM_DATA, WIDTH) < 0.8
    return Experiment(
        programs.model, programs.guide, data=data, elbo=AggregateELBO(alpha=0.0), epochs=epochs
    )
