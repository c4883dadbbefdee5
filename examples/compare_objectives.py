"""One model of small pictures with known factors, and ten objectives to train it with."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, Experiment
from pyro_decomp.divergences.kl import InclusiveKL
from pyro_decomp.divergences.mmd import MMD
from pyro_decomp.elbo.aggregate import AggregateELBO
from pyro_decomp.elbo.annealed import AnnealedPriorELBO
from pyro_decomp.elbo.base import TermsELBO
from pyro_decomp.elbo.beta import BetaELBO
from pyro_decomp.elbo.capacity import CapacityELBO
from pyro_decomp.elbo.dip import DIPELBO
from pyro_decomp.elbo.entropy import EntropyRegularizedELBO
from pyro_decomp.elbo.factor import FactorELBO
from pyro_decomp.elbo.info import InfoELBO
from pyro_decomp.elbo.total_correlation import TotalCorrelationELBO
from pyro_decomp.elbo.wasserstein import WassersteinELBO
from pyro_decomp.networks import Discriminator, MLPEncoder
from pyro_decomp.schedules import Capacity

SIDE = 16  # pixels of a picture
CENTRES = range(4, 12)  # of a square, in each direction
SIDES = (2, 4, 6, 8)  # of a square, in pixels
FACTORS = ("x", "y", "side")
CAPACITY = 8.0  # nats

Objective = Literal[
    "beta",
    "annealed",
    "entropy",
    "capacity",
    "decomposition",
    "total_correlation",
    "factor",
    "dip_ii",
    "info",
    "wasserstein",
]


def squares() -> tuple[Tensor, Tensor]:
    """All 256 pictures of one white square, ``[256, 1, 16, 16]``, and their factors, ``[256, 3]``.

    The factors are the square's centre (x, y) and side, in pixels; every combination is there once.
    """
    centre = torch.tensor(CENTRES, dtype=torch.get_default_dtype())
    factors = torch.cartesian_prod(centre, centre, torch.tensor(SIDES).to(centre))
    x, y, side = factors.T[..., None]
    pixel = torch.arange(SIDE) + 0.5
    across, down = ((pixel - middle).abs() < side / 2 for middle in (x, y))
    return (down[:, :, None] & across[:, None]).to(centre)[:, None], factors


class Encoder(MLPEncoder):
    """q(z|x), a Normal."""

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        """The encodings of pictures ``[B, 1, 16, 16]``."""
        return super().forward(x.flatten(-3))


class Decoder(nn.Module):
    """p(x|z), black or white in each pixel."""

    def __init__(self, latent_dim: int, hidden: int):
        super().__init__()
        self.logits = nn.Sequential(
            nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, SIDE * SIDE)
        )

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        """The pictures of codes ``[B, D]``."""
        logits = self.logits(z).unflatten(-1, (1, SIDE, SIDE))
        return dist.Bernoulli(logits=logits).to_event(3)


def factor(gamma: float, latent_dim: int) -> FactorELBO:
    """FactorVAE with a discriminator, and its rate, of the size of the problem."""
    optimizer = partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.9), fused=True)
    return FactorELBO(gamma, Discriminator(latent_dim, hidden=(64, 64, 64)), optimizer=optimizer)


# The weight that each takes by default, and how it is made from a weight and the latent dimension.
OBJECTIVES: dict[Objective, tuple[float, Callable[[float, int], TermsELBO]]] = {
    "beta": (4.0, lambda beta, _: BetaELBO(beta)),
    "annealed": (4.0, lambda beta, _: AnnealedPriorELBO(beta)),
    "entropy": (4.0, lambda beta, _: EntropyRegularizedELBO(beta)),
    "capacity": (10.0, lambda gamma, _: CapacityELBO(gamma, CAPACITY)),
    "decomposition": (4.0, lambda alpha, _: AggregateELBO(1.0, alpha, InclusiveKL())),
    "total_correlation": (4.0, lambda beta, _: TotalCorrelationELBO(beta=beta)),
    "factor": (4.0, factor),
    "dip_ii": (10.0, lambda weight, _: DIPELBO("II", lambda_od=weight, lambda_d=weight)),
    "info": (100.0, lambda lambda_, _: InfoELBO(0.0, lambda_, MMD())),
    "wasserstein": (100.0, lambda lambda_, _: WassersteinELBO(lambda_, MMD())),
}


def experiment(
    objective: Objective = "beta",
    *,
    weight: float | None = None,
    latent_dim: int = 6,
    hidden: int = 128,
    epochs: int = 250,
    batch_size: int = 64,
    lr: float = 3e-3,
) -> Experiment:
    """A VAE of 256 pictures of a square.

    Args:
        objective: What is maximised.
        weight: The weight that sets it apart from the ELBO (beta, alpha, gamma or lambda); by
            default one that shows its effect. With objective=beta, weight=1 is the plain ELBO.
        latent_dim: Dimensions of z; three would do.
        hidden: Units of the hidden layer of each network.
        epochs: Passes over the 256 pictures.
        batch_size: Pictures a step.
        lr: Learning rate of Adam.
    """
    data, _ = squares()

    def prior():
        return pyro.sample("z", dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1))

    default, make = OBJECTIVES[objective]
    vae = VAE(
        prior,
        encoder=Encoder(math.prod(data.shape[1:]), latent_dim, hidden=(hidden,)),
        decoder=Decoder(latent_dim, hidden),
        size=len(data),
    )
    return Experiment(
        vae.model,
        vae.guide,
        data=data,
        elbo=make(default if weight is None else weight, latent_dim),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        schedules={"capacity": Capacity(CAPACITY, until=0.5)} if objective == "capacity" else {},
    )
