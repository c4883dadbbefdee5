"""Integer tokens as the only data: sequences for an embedding."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment

NUM_DATA, LENGTH, WORDS = 64, 6, 20


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.encoder = nn.Embedding(WORDS, 4), nn.Linear(4 * LENGTH, 4)
        self.decoder = nn.Linear(2, LENGTH * WORDS)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            logits = self.decoder(z).unflatten(-1, (LENGTH, WORDS))
            pyro.sample("x", dist.Categorical(logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            loc, log_scale = self.encoder(self.embedding(x).flatten(-2)).split(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def experiment(epochs: int = 10) -> Experiment:
    programs = Sequences()
    x = torch.randint(WORDS, (NUM_DATA, LENGTH))
    return Experiment(
        programs.model, programs.guide, data=x, elbo=AggregateELBO(alpha=0.0), epochs=epochs
    )
