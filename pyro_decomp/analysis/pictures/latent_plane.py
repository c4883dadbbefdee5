"""The latent space of a run where it is a plane: the density of q(z), and the encodings."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior import log_prob_over
from pyro_decomp.analysis.pictures.factors import FactorData
from pyro_decomp.analysis.pictures.picture_data import PictureData, drawing_of
from pyro_decomp.analysis.plot_calls import Drawing
from pyro_decomp.distributions.densities import family_without_density
from pyro_decomp.programs.traces import TracePair

GRID = 200

Grid = tuple[np.ndarray, np.ndarray, np.ndarray]


def aggregate_posterior(grid: Grid | None) -> Drawing | None:
    """The density of q(z), exact over all data, and of p(z)."""
    if grid is None:
        return None
    axis, log_qz, log_pz = grid
    return drawing_of("aggregate_density", axis, axis, log_qz, log_pz)


def encodings(data: PictureData, grid: Grid | None, known: FactorData | None) -> Drawing | None:
    """The encodings of some data, coloured by a factor of few values, over contours of p(z)."""
    if grid is None:
        return None
    axis, _, log_pz = grid
    name, labels = (known and known.few_valued) or (None, None)
    return drawing_of(
        "encodings",
        *_moments(data.pairs),
        axis,
        axis,
        log_pz,
        labels=labels,
        label_name=name,
    )


def grid_of(data: PictureData) -> Grid | None:
    """Log q(z) over all data and log p(z) on a grid; None where the latent space is no plane."""
    if not is_plane(data.pairs[0]):
        return None
    return density_on_grid(data.pairs, of_all=data.encoded.pairs())


def density_on_grid(
    pairs: list[TracePair],
    limit: float | None = None,
    of_all: Iterable[TracePair] | None = None,
) -> Grid:
    """Log q(z), exact over the data, and log p(z) on a square grid of a 2-D latent space.

    Where the prior is given something of the datum, p(z) is the mixture of all data's priors.

    Args:
        pairs: Guide and model on the data.
        of_all: The same on all data, where ``pairs`` are only some of them.
        limit: The grid covers [-limit, limit] squared; None finds one that holds the codes and the
            prior.

    Returns:
        The axis ``[G]``, log q(z) and log p(z), each ``[G, G]`` with rows along the second latent.
    """
    (name,) = pairs[0].latents
    if limit is None:
        codes = torch.cat([pair.guide.nodes[name]["value"] for pair in pairs])
        of_data = pairs if pairs[0].prior_inputs.given else pairs[:1]
        count = 1000 if of_data is not pairs else None
        prior = torch.cat([pair.prior.draw(count)[0][name] for pair in of_data])
        limit = 1.1 * float(torch.cat([codes, prior]).abs().quantile(0.999))
    axis = torch.linspace(-limit, limit, GRID, device=pairs[0].guide.nodes[name]["value"].device)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    z = {name: torch.stack([columns, rows], -1).view(-1, 2)}
    mixtures = [(pair.aggregate_posterior, pair.aggregate_prior) for pair in (of_all or pairs)]
    log_qz = log_prob_over([posterior for posterior, _ in mixtures], z)
    priors = [prior for _, prior in mixtures if prior is not None]
    log_pz = log_prob_over(priors, z) if priors else pairs[0].prior.log_prob(z)
    log_qz, log_pz = (log_prob.view(GRID, GRID).cpu() for log_prob in (log_qz, log_pz))
    return axis.cpu().numpy(), log_qz.numpy(), log_pz.numpy()


def is_plane(pair: TracePair) -> bool:
    """Whether there is one latent site with a density, of two entries in one event dimension."""
    if len(pair.latents) != 1:
        return False
    fn = pair.guide.nodes[pair.latents[0]]["fn"]
    if family_without_density(fn):
        return False
    return tuple(fn.event_shape) == (2,) and len(fn.batch_shape) == 1


def _moments(pairs: list[TracePair]) -> tuple[Tensor, Tensor]:
    """Mean ``[n, 2]`` and covariance ``[n, 2, 2]`` of every encoding."""
    fns = [pair.guide.nodes[pair.latents[0]]["fn"] for pair in pairs]
    covariances = [getattr(fn, "covariance_matrix", None) for fn in fns]
    return (
        torch.cat([fn.mean for fn in fns]).cpu(),
        torch.cat(
            [
                fn.variance.diag_embed() if covariance is None else covariance
                for fn, covariance in zip(fns, covariances, strict=True)
            ]
        ).cpu(),
    )
