"""AutoNormal for everything: batches by ``subsample=x``, or by row numbers and their own plate."""

import pyro
import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

from pyro_decomp import BetaELBO, Experiment

NUM_DATA, WIDTH = 100, 3


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Linear(2, WIDTH)

    def forward(self, x: Tensor, numbers: Tensor | None = None) -> None:
        with data_plate(x, numbers):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.3).to_event(1), obs=x)


def data_plate(x: Tensor, numbers: Tensor | None = None) -> pyro.plate:
    return pyro.plate("data", NUM_DATA, subsample=x if numbers is None else numbers)


def experiment(
    epochs: int = 10, batch_size: int = 50, with_create_plates: bool = False
) -> Experiment:
    torch.manual_seed(0)
    model = Model()
    guide = AutoNormal(model, create_plates=data_plate if with_create_plates else None)
    x = torch.randn(NUM_DATA, WIDTH)
    data = (x, torch.arange(NUM_DATA)) if with_create_plates else x
    return Experiment(
        model, guide, data=data, elbo=BetaELBO(), epochs=epochs, batch_size=batch_size or None
    )
