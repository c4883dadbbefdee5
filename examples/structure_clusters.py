"""Clusters: five clouds in ten dimensions, and a prior of five clusters in two."""

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from pyro_decomp import VAE, AggregateELBO, Experiment, InclusiveKL
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.priors import GaussianMixture, IsotropicNormal

CLUSTERS, FEATURES = 5, 10
NOISE = 0.03  # standard deviation of each feature
SCALE = 0.03**0.5  # of a cluster of the prior


def clouds(size: int = 500, *, seed: int = 0, draw: int = 0) -> tuple[Tensor, Tensor]:
    """Features ``[size, 10]``, and the cloud that each datum is from, ``[size]``.

    Clouds in the plane, each with a place and covariance of its own, are bent into ten dimensions
    by a random network. Of one seed all are the same but the points, of which ``draw`` is another.
    """
    fixed = torch.Generator().manual_seed(seed)
    bend = torch.randn(2, 20, generator=fixed)
    spread = torch.randn(20, FEATURES, generator=fixed) / 20**0.5
    angle = 2 * math.pi * (torch.arange(CLUSTERS) + 0.4 * torch.rand(CLUSTERS, generator=fixed))
    radius = 1 + 0.3 * torch.rand(CLUSTERS, 1, generator=fixed)
    centre = radius * _on_circle(angle / CLUSTERS)
    shape = 0.18 * torch.randn(CLUSTERS, 2, 2, generator=fixed)

    drawn = torch.Generator().manual_seed(1000 + 2 * seed + draw)
    cloud = torch.randint(CLUSTERS, (size,), generator=drawn)
    around = torch.randn(size, 2, generator=drawn)
    plane = centre[cloud] + torch.einsum("nij,nj->ni", shape[cloud], around)
    noise = NOISE * torch.randn(size, FEATURES, generator=drawn)
    return (plane @ bend).tanh() @ spread + noise, cloud


def _on_circle(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], -1)


def experiment(
    prior: Literal["mixture", "isotropic"] = "mixture",
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    hidden: int = 64,
    epochs: int = 300,
    lr: float = 5e-3,
    data_seed: int = 0,
) -> Experiment:
    """The same networks and objective, with clusters in the prior or without.

    Args:
        prior: Five equal clusters on a circle, or the standard Normal.
        alpha: Weight of KL(p(z) || q(z)).
        beta: Weight of KL(q(z|x) || p(z)).
        hidden: Units of the hidden layer of each network.
        epochs: Passes over the 500 data, each one step.
        lr: Learning rate of Adam.
        data_seed: Of the data.
    """
    x, _ = clouds(seed=data_seed)
    places = 1.2 * _on_circle(2 * math.pi * torch.arange(CLUSTERS) / CLUSTERS)
    vae = VAE(
        GaussianMixture(places, SCALE) if prior == "mixture" else IsotropicNormal(2),
        encoder=MLPEncoder(FEATURES, 2, hidden=(hidden,)),
        decoder=MLPDecoder(2, FEATURES, hidden=(hidden,)),
        size=len(x),
    )
    return Experiment(
        vae.model,
        vae.guide,
        data=x,
        test_data=clouds(seed=data_seed, draw=1)[0],
        elbo=AggregateELBO(beta=beta, alpha=alpha, divergence=InclusiveKL()),
        epochs=epochs,
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
    )
