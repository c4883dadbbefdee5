"""The usual autoencoder, from which each unusual program differs in one thing."""

from collections.abc import Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

NUM_DATA, WIDTH = 50, 4


def perceptron(inputs: int, outputs: int, between: Sequence[nn.Module] = ()) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 8), *(between or [nn.Tanh()]), nn.Linear(8, outputs))


def spread(unbounded: Tensor) -> Tensor:
    """A positive scale, not far from a third."""
    return (0.5 * unbounded - 1).exp()


class Usual(nn.Module):
    """Data of four numbers, two Normal latents; the parts that others change are methods.

    Args:
        latent_dim: Length of the latent.
        num_outputs: Numbers that the decoder gives.
        between: What stands between the linear layers of both networks.
    """

    def __init__(
        self, latent_dim: int = 2, num_outputs: int = WIDTH, between: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__()
        self.encoder = perceptron(WIDTH, 2 * latent_dim, between)
        self.decoder = perceptron(latent_dim, num_outputs, between)
        self.latent_dim = latent_dim

    def prior(self) -> dist.TorchDistribution:
        return dist.Normal(torch.zeros(self.latent_dim), 1.0).to_event(1)

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.decoder(z), 0.5).to_event(1)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = self.encoder(x).split(self.latent_dim, -1)
        return first, second

    def encoding(self, x: Tensor) -> dist.TorchDistribution:
        loc, unbounded = self.heads(x)
        return dist.Normal(loc, spread(unbounded)).to_event(1)

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(z), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("z", self.encoding(x))
