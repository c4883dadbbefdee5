"""Sprites with a beta-VAE or a beta-TCVAE (Chen et al. 2018, section 5), small enough for a CPU."""

from functools import partial
from typing import Literal

import pyro
import pyro.distributions as dist
import torch

from pyro_decomp import VAE, Experiment
from pyro_decomp.data import sprites
from pyro_decomp.elbo import BetaELBO, TotalCorrelationELBO
from pyro_decomp.networks import SpritesMLPDecoder, SpritesMLPEncoder
from pyro_decomp.schedules import Linear

ORIENTATIONS = 39  # in a whole turn; dSprites has the first of them again as its fortieth


def grid(*, size: int = 32, orientations: int = 1, positions: int = 32):
    """Sprites of all shapes and scales, at some orientations and positions, evenly spread."""
    angles = [index * ORIENTATIONS // orientations for index in range(orientations)]
    places = [index * 32 // positions for index in range(positions)]
    return sprites(size).subset(orientation=angles, x=places, y=places)


def experiment(
    objective: Literal["beta", "total_correlation"] = "total_correlation",
    *,
    beta: float = 3.0,
    estimator: Literal["stratified_averaged", "weighted"] = "stratified_averaged",
    warm_up: float = 0.4,
    size: int = 32,
    orientations: int = 1,
    positions: int = 32,
    latent_dim: int = 10,
    hidden: int = 256,
    epochs: int = 42,
    batch_size: int = 256,
    lr: float = 1e-3,
) -> Experiment:
    """The published objectives and kind of network, for smaller images and a shorter training.

    The paper has size=64, orientations=39, hidden=1200, batch_size=2048 and epochs=50, and for beta
    4 and 6, which are halved here: an image half as wide has an outline half as long, of which the
    log likelihood is made.

    Args:
        objective: What beta weighs: the whole KL, or the total correlation in it alone.
        beta: That weight; 1 is the plain ELBO.
        estimator: Of log q(z) from a batch, for the total correlation; "weighted" is the paper's.
        warm_up: Share of the run over which beta rises from 0, as an option of the paper's code has
            it.
        size: Pixels across an image.
        orientations: How many of the 39.
        positions: How many of the 32 along each axis.
        latent_dim: Dimensions of z.
        hidden: Units of each hidden layer: two of the encoder and three of the decoder.
        epochs: Passes over the images.
        batch_size: Images a step.
        lr: Learning rate of Adam.
    """
    chosen = grid(size=size, orientations=orientations, positions=positions)
    images, factors = chosen.materialise()

    def prior():
        return pyro.sample("z", dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1))

    vae = VAE(
        prior,
        encoder=SpritesMLPEncoder(latent_dim, size, hidden=(hidden,) * 2),
        decoder=SpritesMLPDecoder(latent_dim, size, hidden=(hidden,) * 3),
        size=len(images),
    )
    elbos = {
        "beta": BetaELBO(beta),
        "total_correlation": TotalCorrelationELBO(beta=beta, estimator=estimator),
    }
    return Experiment(
        vae.model,
        vae.guide,
        data=images,
        factors=factors,
        factor_names=chosen.factor_names,
        elbo=elbos[objective],
        epochs=epochs,
        batch_size=batch_size,
        optimizer=partial(torch.optim.Adam, lr=lr, fused=True),
        schedules={"beta": Linear(0.0, beta, until=warm_up)},
    )
