"""Conditional prior: p(z|y) with y an input of the programs (labels, batches, treatment)."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment

NUM_DATA, WIDTH, CLASSES = 400, 2, 2
LOCS = torch.tensor([[-3.0, 0.0], [3.0, 0.0]])


class ConditionalVAE(nn.Module):
    """Its guide is the prior itself: q(z) = p(z) = (1/N) sum_n p(z|y_n)."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, WIDTH)

    def model(self, x: Tensor, y: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", dist.Normal(LOCS[y], 0.5).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("z", dist.Normal(LOCS[y], 0.5).to_event(1))


def experiment(epochs: int = 2, alpha: float = 1.0) -> Experiment:
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(CLASSES, (NUM_DATA,), generator=generator)
    x = torch.randn(NUM_DATA, WIDTH, generator=generator)
    vae = ConditionalVAE()
    return Experiment(
        vae.model, vae.guide, data=(x, y), elbo=AggregateELBO(alpha=alpha), epochs=epochs
    )
