"""What is measured of a run of each example: a number that shows its structure, and others."""

from typing import Any

import structure_scores as scores
import torch
from torch import Tensor

from pyro_decomp.analysis.generation import sample_prior
from pyro_decomp.analysis.latents import codes, log_likelihood
from pyro_decomp.metrics import hoyer_sparsity
from pyro_decomp.seeds import seeded
from pyro_decomp.training.run import Run

REFERENCE = 5000  # data of the true distribution that draws are compared with
HELD_OUT = 2000
DRAWS = 1000
IMPORTANCE_SAMPLES = 200  # per datum
Row = dict[str, float]
Names = dict[str, Any]  # what the example's file defines


def draws(run: Run, size: int = DRAWS, seed: int = 0) -> Tensor:
    """Data drawn from a trained model, noise included."""
    z = sample_prior(run, size, seed=seed).latents["z"]
    with seeded(seed), torch.no_grad():
        return run.model.__self__.decoder(z).sample()


def log_px(run: Run, seed: int) -> Tensor:
    """Log p(x) of each of the held-out data, in nats."""
    x = run.experiment.test_data
    return log_likelihood(run, x, num_samples=IMPORTANCE_SAMPLES, seed=seed)


def clusters(run: Run, names: Names, seed: int) -> Row:
    """Draws between the clouds; k-means on the codes; held-out data."""
    size = names["CLUSTERS"]
    data, _ = names["clouds"](REFERENCE, seed=seed, draw=2)
    held_out, _ = names["clouds"](HELD_OUT, seed=seed, draw=3)
    _, cloud = names["clouds"](len(run.data), seed=seed)
    return {
        "draws between the clouds": scores.strays(draws(run, seed=seed), data, held_out),
        "held-out log p(x), nats": log_px(run, seed).mean().item(),
        "data in the right cluster": scores.agreement(scores.k_means(codes(run), size), cloud),
    }


def sparsity(run: Run, names: Names, seed: int) -> Row:
    """How well each bar has a latent of its own, and how sparse the codes are."""
    _, sources = names["bars"](len(run.data), seed=seed)
    z = codes(run)
    _, correlation = scores.matched(scores.correlations(sources, z))
    return {
        "correlation with own latent": correlation.mean().item(),
        "sparsity (Hoyer)": hoyer_sparsity(z, num_resamples=0).value,
    }


def hierarchy(run: Run, names: Names, seed: int) -> Row:
    """Nats that the model is short of the truth, and the groups of clusters."""
    truth = names["truth"](seed).log_prob(run.experiment.test_data.x)
    _, leaf = names["points"](len(run.data), seed=seed)
    z, branches = codes(run), names["BRANCHES"]
    prior = run.model.__self__.prior
    if hasattr(prior, "offsets"):
        leaves = (prior.locs[:, None] + prior.offsets).flatten(0, 1).detach()
        group = torch.cdist(z, leaves).argmin(1) // branches
    else:
        group = scores.k_means(z, branches)
    return {
        "held-out nats short of the truth": (truth - log_px(run, seed)).mean().item(),
        "data in the right group": scores.agreement(group, leaf // branches),
    }


def subspaces(run: Run, names: Names, seed: int) -> Row:
    """Held-out data, and how well each grating has a pair of latents of its own."""
    _, sources = names["gratings"](len(run.data), seed=seed)
    _, share = scores.matched(scores.explained(sources, codes(run), 2))
    return {
        "held-out log p(x), nats": log_px(run, seed).mean().item(),
        "grating explained by own pair": share.mean().item(),
    }


def axes(run: Run, names: Names, seed: int) -> Row:
    """How well each dial has a latent of its own; held-out data."""
    _, dials = names["sensors"](len(run.data), seed=seed)
    _, correlation = scores.matched(scores.correlations(dials, codes(run)))
    return {
        "correlation with own latent": correlation.mean().item(),
        "held-out log p(x), nats": log_px(run, seed).mean().item(),
    }
