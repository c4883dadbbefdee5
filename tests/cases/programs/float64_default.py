"""Everything in double: ``torch.set_default_dtype``, numpy data."""

import numpy as np
import pyro
import pyro.distributions as dist
import torch

from pyro_decomp import VAE, AggregateELBO, Experiment
from pyro_decomp.networks import MLPDecoder, MLPEncoder

torch.set_default_dtype(torch.float64)


def prior() -> torch.Tensor:
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def experiment(epochs: int = 5) -> Experiment:
    vae = VAE(prior, MLPEncoder(3, 2), MLPDecoder(2, 3), size=64)
    x = np.random.default_rng(0).normal(size=(64, 3))
    return Experiment(vae.model, vae.guide, data=x, elbo=AggregateELBO(alpha=1.0), epochs=epochs)
