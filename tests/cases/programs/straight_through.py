"""A categorical code by straight-through Gumbel-softmax, as in a JointVAE."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment

NUM_DATA, WIDTH, CLASSES = 100, 3, 4


class StraightThrough(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(WIDTH, CLASSES), nn.Linear(CLASSES, WIDTH)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            c = pyro.sample("c", dist.OneHotCategorical(logits=torch.zeros(CLASSES)))
            pyro.sample("x", dist.Normal(self.decoder(c), 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        relaxed = dist.RelaxedOneHotCategoricalStraightThrough
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("c", relaxed(torch.tensor(0.5), logits=self.encoder(x)))


def experiment(epochs: int = 10, alpha: float = 0.0) -> Experiment:
    torch.manual_seed(0)
    programs = StraightThrough()
    x = torch.randn(NUM_DATA, WIDTH)
    return Experiment(
        programs.model, programs.guide, data=x, elbo=AggregateELBO(alpha=alpha), epochs=epochs
    )
