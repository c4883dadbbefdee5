"""Class-conditional VAE: labels are an input of encoder and decoder, never a random site."""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from pyro_decomp import AggregateELBO, Experiment

NUM_DATA, WIDTH, CLASSES = 200, 3, 3


class ConditionalVAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(WIDTH + CLASSES, 4), nn.Linear(2 + CLASSES, WIDTH)

    def model(self, x: Tensor, y: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            mean = self.decoder(torch.cat([z, one_hot(y, CLASSES).float()], -1))
            pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor, y: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            heads = self.encoder(torch.cat([x, one_hot(y, CLASSES).float()], -1))
            loc, log_scale = heads.split(2, -1)
            pyro.sample("z", dist.Normal(loc, log_scale.exp()).to_event(1))


def experiment(epochs: int = 20, alpha: float = 0.0, batch_size: int = 50) -> Experiment:
    torch.manual_seed(0)
    y = torch.randint(CLASSES, (NUM_DATA,))
    x = torch.randn(NUM_DATA, WIDTH) + y[:, None]
    vae = ConditionalVAE()
    return Experiment(
        vae.model,
        vae.guide,
        data=(x, y),
        test_data=(x[:50], y[:50]),
        elbo=AggregateELBO(alpha=alpha),
        epochs=epochs,
        batch_size=batch_size,
    )
