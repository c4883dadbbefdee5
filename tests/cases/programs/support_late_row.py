"""Binary images but for one grey pixel in a late row, Bernoulli likelihood."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, AggregateELBO, Experiment
from pyro_decomp.networks import MLPEncoder

NUM_DATA, ROW, COLUMN = 64, 40, 1


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        return dist.Bernoulli(logits=self.linear(z)).to_event(1)


def prior() -> Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def experiment(epochs: int = 200, batch_size: int = 8, bad: float = 255.0) -> Experiment:
    torch.manual_seed(0)
    x = (torch.rand(NUM_DATA, 3) < 0.5).float()
    x[ROW, COLUMN] = bad
    vae = VAE(prior, MLPEncoder(3, 2), Decoder(), size=NUM_DATA)
    return Experiment(
        vae.model,
        vae.guide,
        data=x,
        elbo=AggregateELBO(alpha=0.0),
        epochs=epochs,
        batch_size=batch_size,
    )
