"""An experiment file whose programs, optimiser or gradients keep or change things between steps."""

FILE = """
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_decomp import AggregateELBO, BetaELBO, Experiment, InclusiveKL
from pyro_decomp.priors import GaussianMixture
from pyro_decomp.schedules import Linear

CALLS = [0]


class Program(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.calls, self.width = kind, 0, 1.0
        self.encoder, self.decoder = nn.Linear(4, 4), nn.Linear(2, 4)
        self.register_buffer("noise", torch.tensor(1.0))
        self.register_buffer("count", torch.tensor(0))
        self.constant = torch.full((2,), 0.5)
        self.clusters = None
        if kind == "clusters of a seed":
            self.clusters = GaussianMixture(torch.randn(3, 2), 0.5, torch.rand(3) + 0.1)
        if kind == "constant of a seed":
            self.constant = torch.rand(2)
        if kind == "normalised":
            self.encoder = nn.Sequential(nn.BatchNorm1d(4), self.encoder)
        if kind == "evaluated in the last batch":
            self.decoder = nn.Sequential(nn.Dropout(0.5), self.decoder)
        if kind == "masked gradients":
            self.decoder.weight.register_hook(lambda gradient: 0.5 * gradient)

    def scale(self):
        if self.kind == "counter":
            self.calls += 1
            return 1.0 if self.calls < 40 else 0.2
        if self.kind == "global":
            CALLS[0] += 1
            return 1.0 if CALLS[0] < 40 else 0.2
        return self.width

    def model(self, x):
        if self.kind == "assigned" and self.training:
            self.noise = 0.2 + 0.9 * (self.noise - 0.2)
        if self.kind == "another type":
            self.count = self.count + 0.5
        if self.kind == "assigned in the last batch" and len(x) == 2:
            self.noise = 0.9 * self.noise
        if self.kind == "evaluated in the last batch" and len(x) == 2:
            self.decoder.eval()
        with pyro.plate("data", 12, subsample=x):
            if self.clusters is not None:
                z = self.clusters()
            else:
                z = pyro.sample("z", dist.Normal(self.constant, self.scale()).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), self.noise).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", 12, subsample=x):
            h = self.encoder(x)
            pyro.sample("z", dist.Normal(h[:, :2], h[:, 2:].exp()).to_event(1))


def optimizer(program, parameters):
    parameters = list(parameters)
    if program.kind == "decay by shape":
        decaying = [p for p in parameters if p.dim() > 1]
        others = [p for p in parameters if p.dim() < 2]
        groups = [{"params": decaying}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=0.02, weight_decay=1.0)
    if program.kind == "Adagrad":
        return torch.optim.Adagrad(parameters, lr=0.02, initial_accumulator_value=0.1)
    found = torch.optim.Adam(parameters, lr=0.02)
    if program.kind == "hook":
        found.register_step_post_hook(lambda *_: program.constant.mul_(1.1))
    return found


def experiment(
    kind: str = "assigned", beta: float = 1.0, epochs: int = 6, batch_size: int = 5, end: float = 0
) -> Experiment:
    torch.set_default_dtype(torch.float64)
    x = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    program = Program(kind).double()
    elbo = BetaELBO(beta)
    if program.clusters is not None:
        elbo = AggregateELBO(beta, alpha=1.0, divergence=InclusiveKL())
    return Experiment(
        program.model,
        program.guide,
        x,
        elbo,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(optimizer, program),
        schedules={"model.width": Linear(2.0, end)} if end else {},
    )
"""
