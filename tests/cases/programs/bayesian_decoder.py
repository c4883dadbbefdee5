"""Bayesian decoder (PyroSample weights), AutoNormal for the weights, amortised local guide."""

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroSample
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment

NUM_DATA, WIDTH = 100, 3


class Model(PyroModule):
    def __init__(self) -> None:
        super().__init__()
        self.linear = PyroModule[nn.Linear](2, WIDTH)
        self.linear.weight = PyroSample(dist.Normal(0.0, 1.0).expand([WIDTH, 2]).to_event(2))
        self.linear.bias = PyroSample(dist.Normal(0.0, 1.0).expand([WIDTH]).to_event(1))

    def forward(self, x: Tensor) -> None:
        _ = self.linear.weight, self.linear.bias  # drawn outside the plate
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.linear(z), 0.3).to_event(1), obs=x)


class Guide(PyroModule):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.encoder = nn.Linear(WIDTH, 4)
        self.of_weights = AutoNormal(poutine.block(model, hide=["z", "x"]))

    def forward(self, x: Tensor) -> None:
        self.of_weights(x)
        with pyro.plate("data", NUM_DATA, subsample=x):
            loc, log_scale = self.encoder(x).split(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def experiment(epochs: int = 30, batch_size: int = 50) -> Experiment:
    torch.manual_seed(0)
    model = Model()
    return Experiment(
        model,
        Guide(model),
        data=torch.randn(NUM_DATA, WIDTH),
        elbo=AggregateELBO(alpha=0.0),
        epochs=epochs,
        batch_size=batch_size,
    )
