"""Counts with zero inflation, overdispersion learned, scaled by each datum's total."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment

NUM_DATA, WIDTH = 300, 20


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.log_dispersion = nn.Linear(WIDTH, 4), nn.Parameter(torch.zeros(WIDTH))
        self.shares, self.gates = nn.Linear(2, WIDTH), nn.Linear(2, WIDTH)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            mean = torch.softmax(self.shares(z), -1) * x.sum(-1, keepdim=True)
            counts = dist.ZeroInflatedNegativeBinomial(
                total_count=self.log_dispersion.exp(),
                logits=(mean + 1e-8).log() - self.log_dispersion,
                gate_logits=self.gates(z),
            )
            pyro.sample("x", counts.to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            loc, log_scale = self.encoder(x.log1p()).split(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def experiment(epochs: int = 20, alpha: float = 0.0, batch_size: int = 100) -> Experiment:
    torch.manual_seed(0)
    x = torch.poisson(torch.rand(NUM_DATA, WIDTH) * 5) * (torch.rand(NUM_DATA, WIDTH) < 0.6)
    programs = Counts()
    return Experiment(
        programs.model,
        programs.guide,
        data=x,
        elbo=AggregateELBO(alpha=alpha),
        epochs=epochs,
        batch_size=batch_size,
    )
