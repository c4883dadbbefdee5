"""The experiments that are timed. Pictures are noise: what they show costs nothing."""

from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_decomp import VAE, AggregateELBO, BetaELBO, Experiment, TotalCorrelationELBO
from pyro_decomp.divergences import DimensionwiseMMD
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.networks import (
    ConvDecoder32,
    ConvEncoder32,
    SpritesConvDecoder,
    SpritesConvEncoder,
)
from pyro_decomp.training.experiment_file import ExperimentFile

EXAMPLES = Path(__file__).parents[2] / "examples"
MOST_STEPS = 10_000
BATCHES = 4
PINWHEEL = {"batch_size": 400, "anneal": False}  # as published
BETA = BetaELBO(4.0)
TOTAL_CORRELATION = TotalCorrelationELBO(beta=4.0)


def pinwheel(alpha: float) -> Experiment:
    """examples/pinwheel_mixture.py at the published settings, all 400 points a step."""
    source = ExperimentFile.read(EXAMPLES / "pinwheel_mixture.py", seed=0)
    return source.build({"alpha": alpha, "epochs": MOST_STEPS} | PINWHEEL)


def sprites(elbo: TermsELBO, batch_size: int = 64, latent_dim: int = 10) -> Experiment:
    """The convolutions of Kim & Mnih (2018) on pictures of 64 x 64."""
    data = (torch.rand(BATCHES * batch_size, 1, 64, 64) < 0.05).float()

    def prior() -> Tensor:
        return pyro.sample("z", dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1))

    encoder, decoder = SpritesConvEncoder(latent_dim), SpritesConvDecoder(latent_dim)
    vae = VAE(prior, encoder, decoder, size=len(data))
    return Experiment(
        vae.model,
        vae.guide,
        data=data,
        elbo=elbo,
        epochs=MOST_STEPS // BATCHES,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=5e-4, fused=True),
    )


def fashion_mnist(batch_size: int = 500, latent_dim: int = 50) -> Experiment:
    """examples/sparse_fashion_mnist.py with its dimension-wise MMD."""
    source = ExperimentFile.read(EXAMPLES / "sparse_fashion_mnist.py", seed=0)
    prior = source.function.__globals__["SparsePrior"](0.8, 0.05, latent_dim)
    data = torch.rand(BATCHES * batch_size, 1, 32, 32)
    encoder, decoder = ConvEncoder32(latent_dim), ConvDecoder32(latent_dim, scale=0.1)
    vae = VAE(prior, encoder, decoder, size=len(data))
    return Experiment(
        vae.model,
        vae.guide,
        data=data,
        elbo=AggregateELBO(alpha=1000.0, divergence=DimensionwiseMMD()),
        epochs=MOST_STEPS // BATCHES,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=5e-4, fused=True),
    )
