"""Hierarchy: three groups of three clusters in the plane, and a prior that is such a tree."""

import math
from functools import partial
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_decomp import VAE, BetaELBO, Experiment
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.priors import GaussianMixture, IsotropicNormal, NestedClusters
from pyro_decomp.schedules import Linear

BRANCHES = 3  # groups, and clusters of each
LEAVES = BRANCHES**2
SCALE = 0.06  # standard deviation of a cluster, in each direction


def truth(seed: int = 0) -> dist.TorchDistribution:
    """The density of the data, a mixture of nine equal clusters; the first three are a group."""
    fixed = torch.Generator().manual_seed(seed)
    turn = 2 * math.pi * torch.rand(1 + BRANCHES, 1, generator=fixed)
    radius = 0.25 + 0.15 * torch.rand(BRANCHES, 1, 1, generator=fixed)
    angle = turn + 2 * math.pi * torch.arange(BRANCHES) / BRANCHES
    triangles = torch.stack([angle.cos(), angle.sin()], -1)
    leaves = (triangles[0][:, None] + radius * triangles[1:]).flatten(0, 1)
    equal = dist.Categorical(logits=torch.zeros(LEAVES))
    return dist.MixtureSameFamily(equal, dist.Normal(leaves, SCALE).to_event(1))


def points(size: int = 500, *, seed: int = 0, draw: int = 0) -> tuple[Tensor, Tensor]:
    """Points ``[size, 2]``, and the cluster that each is from, ``[size]``."""
    drawn = torch.Generator().manual_seed(1000 + 2 * seed + draw)
    leaf = torch.randint(LEAVES, (size,), generator=drawn)
    around = SCALE * torch.randn(size, 2, generator=drawn)
    return truth(seed).component_distribution.mean[leaf] + around, leaf


def experiment(
    prior: Literal["nested", "flat", "isotropic"] = "nested",
    *,
    beta: float = 1.0,
    warm_up: float = 0.3,
    hidden: int = 64,
    epochs: int = 300,
    batch_size: int = 250,
    lr: float = 5e-3,
    data_seed: int = 0,
) -> Experiment:
    """The same networks and objective, with a learned tree, learned clusters or neither.

    Args:
        prior: A tree of three groups of three clusters, nine clusters without a tree, or the
            standard Normal. The first two are learned, from random places.
        beta: Weight of KL(q(z|x) || p(z)).
        warm_up: Share of the run in which beta rises from 0.
        hidden: Units of the hidden layer of each network.
        epochs: Passes over the 500 points.
        batch_size: Points a step.
        lr: Learning rate of Adam.
        data_seed: Of the data.
    """
    x, _ = points(seed=data_seed)
    groups, offsets = torch.randn(BRANCHES, 2), 0.5 * torch.randn(BRANCHES, BRANCHES, 2)
    leaves = (groups[:, None] + offsets).flatten(0, 1)
    everything = ("locs", "scale", "weights")
    priors = {
        "nested": NestedClusters(groups, offsets, scale=0.2, learned=True),
        "flat": GaussianMixture(leaves, 0.2, learned=everything),
        "isotropic": IsotropicNormal(2),
    }
    vae = VAE(
        priors[prior],
        encoder=MLPEncoder(2, 2, hidden=(hidden,)),
        decoder=MLPDecoder(2, 2, hidden=(hidden,)),
        size=len(x),
    )
    return Experiment(
        vae.model,
        vae.guide,
        data=x,
        test_data=points(seed=data_seed, draw=1)[0],
        elbo=BetaELBO(beta),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        schedules={"beta": Linear(0.0, beta, until=warm_up)},
    )
