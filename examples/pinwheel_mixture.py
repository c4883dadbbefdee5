"""Clusters for the pinwheel (Mathieu et al. 2019, section 6.2)."""

from functools import partial

import pyro
import pyro.distributions as dist
import torch

from pyro_decomp import VAE, AggregateELBO, Experiment, InclusiveKL
from pyro_decomp.data import pinwheel, pinwheel_labels
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.schedules import Exponential, Linear

LOCS = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])
VARIANCE = 0.03


def prior():
    """Four equal Gaussian clusters, one for each arm of the pinwheel."""
    clusters = dist.Categorical(logits=torch.zeros(4))
    components = dist.Normal(LOCS, VARIANCE**0.5).to_event(1)
    return pyro.sample("z", dist.MixtureSameFamily(clusters, components))


def experiment(
    alpha: float = 3.0,
    beta: float = 1.0,
    epochs: int = 200,
    *,
    batch_size: int = 100,
    anneal: bool = True,
    lr: float = 1e-3,
    hidden: int = 100,
) -> Experiment:
    """Clusters that become narrow slowly, so that each arm finds one of its own.

    The published settings are alpha=1 (and others), epochs=500, batch_size=400 and anneal=false:
    they leave two arms in one cluster for about one seed in five.

    Args:
        alpha: Weight of KL(p(z) || q(z)): how well the encodings match the clusters.
        beta: Weight of KL(q(z|x) || p(z)): how much the encodings overlap.
        epochs: Passes over the 400 points.
        batch_size: Points in each step.
        anneal: Begin with wide clusters and a tenth of beta.
        lr: Learning rate of Adam with AMSGrad.
        hidden: Units of the hidden layer of each network.
    """
    data = pinwheel(seed=0)
    vae = VAE(
        prior,
        encoder=MLPEncoder(data.shape[1], 2, hidden=(hidden,)),
        decoder=MLPDecoder(2, data.shape[1], hidden=(hidden,)),
        size=len(data),
    )
    schedules = {
        "model.prior.VARIANCE": Exponential(1.0, VARIANCE, until=0.8),
        "beta": Linear(0.1 * beta, beta, until=0.9),
    }
    return Experiment(
        vae.model,
        vae.guide,
        data=data,
        test_data=pinwheel(seed=1),
        factors=pinwheel_labels(),
        test_factors=pinwheel_labels(),
        factor_names=["arm"],
        elbo=AggregateELBO(beta=beta, alpha=alpha, divergence=InclusiveKL()),
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=lr, amsgrad=True, fused=True),
        schedules=schedules if anneal else {},
    )
