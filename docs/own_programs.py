"""Probabilistic principal components of a table, without VAE."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

from pyro_decomp import AggregateELBO, Experiment


def experiment(latent_dim: int = 2, beta: float = 1.0, epochs: int = 100) -> Experiment:
    """A linear encoder and decoder, and a unit Normal prior."""
    data = torch.randn(200, latent_dim) @ torch.randn(latent_dim, 5)
    encoder, decoder = nn.Linear(5, latent_dim), nn.Linear(latent_dim, 5)

    def model(x):
        with pyro.plate("data", len(data), subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.ones(latent_dim), dist.constraints.positive)
        with pyro.plate("data", len(data), subsample=x):
            pyro.sample("z", dist.Normal(encoder(x), scale).to_event(1))

    elbo = AggregateELBO(beta=beta)
    return Experiment(model, guide, data=data, elbo=elbo, epochs=epochs)
