"""Measurements of one population in three laboratories: what is common, and what a laboratory adds.

Each row of ten values is made of what the sample is, two numbers that are distributed alike in all
laboratories, and of how its laboratory measures, which differs. The model has a latent site for
each. The prior of ``biology`` is one for all data; that of ``technical`` is given the laboratory
and has a learned place for each. What the codes are held against as a whole is then the mixture of
the priors of all rows (docs/conditional_priors.md).
"""

from functools import partial

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, ExclusiveKL, Experiment
from pyro_decomp.networks import MLPEncoder

LABORATORIES, VALUES = 3, 10


class Laboratories(nn.Module):
    """p(biology) p(technical|laboratory) p(x|both), and an encoder for each site."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.places = nn.Parameter(torch.linspace(-1.0, 1.0, LABORATORIES)[:, None])
        self.decoder = nn.Linear(3, VALUES)
        self.log_noise = nn.Parameter(torch.zeros(()))
        self.biology = MLPEncoder(VALUES + LABORATORIES, 2, hidden=(32,))
        self.technical = MLPEncoder(VALUES + LABORATORIES, 1, hidden=(32,))

    def model(self, x: Tensor, laboratory: Tensor) -> None:
        """Rows of values, given their laboratories."""
        with pyro.plate("data", self.size, subsample=x):
            biology = pyro.sample("biology", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            place = self.places[laboratory]
            technical = pyro.sample("technical", dist.Normal(place, 0.2).to_event(1))
            loc = self.decoder(torch.cat([biology, technical], -1))
            pyro.sample("x", dist.Normal(loc, self.log_noise.exp()).to_event(1), obs=x)

    def guide(self, x: Tensor, laboratory: Tensor) -> None:
        """Both latent sites, given values and laboratory."""
        known = torch.cat([x, nn.functional.one_hot(laboratory, LABORATORIES).to(x)], -1)
        with pyro.plate("data", self.size, subsample=x):
            pyro.sample("biology", self.biology(known))
            pyro.sample("technical", self.technical(known))


def measurements(size: int, seed: int) -> tuple[Tensor, Tensor]:
    """Values ``[size, 10]`` and laboratories ``[size]``, sorted as the laboratories sent them."""
    generator = torch.Generator().manual_seed(seed)
    laboratory = torch.arange(size) * LABORATORIES // size
    biology = torch.randn(size, 2, generator=generator)
    shift = torch.tensor([-2.0, 0.3, 1.7])[laboratory][:, None]
    weights = torch.randn(3, VALUES, generator=torch.Generator().manual_seed(0))
    noise = 0.3 * torch.randn(size, VALUES, generator=generator)
    return torch.cat([biology, shift], -1) @ weights + noise, laboratory


def experiment(  # noqa: PLR0917
    alpha: float = 1.0,
    beta: float = 1.0,
    size: int = 600,
    epochs: int = 100,
    lr: float = 5e-3,
    batch_size: int = 100,
) -> Experiment:
    """What is common to three laboratories, and what each adds.

    Args:
        alpha: Weight of KL(q(z) || p(z)), p(z) the mixture of all rows' priors.
        beta: Weight of KL(q(z|x) || p(z|laboratory)): how much the encodings overlap.
        size: How many rows.
        epochs: Passes over the rows.
        lr: Learning rate of Adam.
        batch_size: Rows in a step.
    """
    parts = Laboratories(size)
    return Experiment(
        parts.model,
        parts.guide,
        data=measurements(size, seed=2),
        elbo=AggregateELBO(beta=beta, alpha=alpha, divergence=ExclusiveKL()),
        optimizer=partial(torch.optim.Adam, lr=lr),
        epochs=epochs,
        batch_size=batch_size,
    )
