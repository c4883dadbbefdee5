"""Axis alignment: twelve sensors of four dials, and a prior whose contours are not round."""

from functools import partial
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_decomp import VAE, BetaELBO, Experiment
from pyro_decomp.networks import MLPEncoder
from pyro_decomp.priors import AnisotropicNormal, IsotropicNormal, StudentT

DIALS, SENSORS = 4, 12
NOISE = 0.1  # standard deviation of each sensor


def sensors(size: int = 1000, *, seed: int = 0, draw: int = 0) -> tuple[Tensor, Tensor]:
    """Readings ``[size, 12]``, and the dials that they follow from, ``[size, 4]``.

    The dials are independent, alike, and Laplace with variance 1. A sensor sees a sum of them,
    through a curve that flattens; all dials are seen equally well, at right angles.
    """
    fixed = torch.Generator().manual_seed(seed)
    seen = 2 * torch.linalg.qr(torch.randn(SENSORS, DIALS, generator=fixed)).Q
    drawn = torch.Generator().manual_seed(1000 + 2 * seed + draw)
    size_of = torch.empty(size, DIALS).exponential_(generator=drawn)
    sign = 1 - 2 * torch.randint(2, (size, DIALS), generator=drawn)
    dials = sign * size_of / 2**0.5
    noise = NOISE * torch.randn(size, SENSORS, generator=drawn)
    return (dials @ seen.T).asinh() + noise, dials


class Decoder(nn.Module):
    """p(x|z): a perceptron, with noise of a learned scale."""

    def __init__(self, latent_dim: int, out_dim: int, hidden: int):
        super().__init__()
        self.loc = nn.Sequential(
            nn.Linear(latent_dim, hidden), nn.Tanh(), nn.Linear(hidden, out_dim)
        )
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        """The readings of codes ``[B, D]``."""
        return dist.Normal(self.loc(z), self.log_scale.exp()).to_event(1)


def experiment(
    prior: Literal["student_t", "anisotropic", "isotropic"] = "student_t",
    *,
    df: float = 3.0,
    beta: float = 1.0,
    hidden: int = 64,
    epochs: int = 100,
    batch_size: int = 200,
    lr: float = 1e-2,
    data_seed: int = 0,
) -> Experiment:
    """The same networks and objective, with axes in the prior or without.

    Args:
        prior: A Student-t in each dimension, a Normal with another scale in each, or the standard
            Normal.
        df: Degrees of freedom of the Student-t.
        beta: Weight of KL(q(z|x) || p(z)).
        hidden: Units of the hidden layer of each network.
        epochs: Passes over the 1000 readings.
        batch_size: Readings a step.
        lr: Learning rate of Adam.
        data_seed: Of the data.
    """
    x, _ = sensors(seed=data_seed)
    scale = torch.tensor([1.6, 0.95, 0.6, 0.4])
    priors = {
        "student_t": StudentT(DIALS, df),
        "anisotropic": AnisotropicNormal(scale / scale.square().mean().sqrt()),
        "isotropic": IsotropicNormal(DIALS),
    }
    vae = VAE(
        priors[prior],
        encoder=MLPEncoder(SENSORS, DIALS, hidden=(hidden,)),
        decoder=Decoder(DIALS, SENSORS, hidden),
        size=len(x),
    )
    return Experiment(
        vae.model,
        vae.guide,
        data=x,
        test_data=sensors(seed=data_seed, draw=1)[0],
        elbo=BetaELBO(beta),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
