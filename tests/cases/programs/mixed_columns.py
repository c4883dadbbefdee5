"""A table of real, categorical and count columns, one observed site a kind."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from pyro_decomp import AggregateELBO, Experiment

NUM_DATA = 300


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.of_real = nn.Linear(2 + 3 + 1, 4), nn.Linear(2, 2)
        self.of_category, self.of_count = nn.Linear(2, 3), nn.Linear(2, 1)

    def model(self, real: Tensor, category: Tensor, count: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=real):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("real", dist.Normal(self.of_real(z), 0.5).to_event(1), obs=real)
            pyro.sample("category", dist.Categorical(logits=self.of_category(z)), obs=category)
            pyro.sample("count", dist.Poisson(self.of_count(z).exp()).to_event(1), obs=count)

    def guide(self, real: Tensor, category: Tensor, count: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=real):
            columns = [real, one_hot(category, 3).float(), count.float().log1p()]
            loc, log_scale = self.encoder(torch.cat(columns, -1)).split(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def experiment(epochs: int = 20, alpha: float = 0.0, batch_size: int = 100) -> Experiment:
    torch.manual_seed(0)
    real, category = torch.randn(NUM_DATA, 2), torch.randint(3, (NUM_DATA,))
    count = torch.poisson(torch.full((NUM_DATA, 1), 3.0)).long()
    mixed = Mixed()
    return Experiment(
        mixed.model,
        mixed.guide,
        data=(real, category, count),
        elbo=AggregateELBO(alpha=alpha),
        epochs=epochs,
        batch_size=batch_size,
    )
