"""The latent space of a run where it is a plane: the density of q(z), and the encodings."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_decomp import plots
from pyro_decomp.aggregate_posterior import log_prob_over
from pyro_decomp.densities import family_without_density
from pyro_decomp.encoded import Encodings, encode
from pyro_decomp.pictures.scene import Scene
from pyro_decomp.traces import TracePair

GRID = 200


def pictures(scene: Scene) -> Iterator[tuple[str, Figure]]:
    """The density of q(z), exact over all data, and the encodings of some."""
    pairs = scene.pairs
    if not _is_plane(pairs[0]):
        return
    encodings = [pair.aggregate_posterior for pair in encode(scene.run, scene.run.data)]
    grid, log_qz, log_pz = density_on_grid(pairs, encodings=encodings)
    yield "aggregate_posterior", plots.aggregate_density(grid, grid, log_qz, log_pz)
    loc, covariance = _moments(pairs)
    yield "encodings", plots.encodings(loc, covariance, grid, grid, log_pz)


def density_on_grid(
    pairs: list[TracePair],
    limit: float | None = None,
    encodings: Sequence[Encodings] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log q(z), exact over the data, and log p(z) on a square grid of a 2-D latent space.

    Args:
        pairs: Encodings of the data.
        encodings: Those of all data, where ``pairs`` are only some of them.
        limit: The grid covers [-limit, limit] squared; None finds one that holds the codes and the
            prior.

    Returns:
        The axis ``[G]``, log q(z) and log p(z), each ``[G, G]`` with rows along the second latent.
    """
    (name,) = pairs[0].latents
    if limit is None:
        codes = torch.cat([pair.guide.nodes[name]["value"] for pair in pairs])
        prior = pairs[0].prior.draw(1000)[0][name]
        limit = 1.1 * float(torch.cat([codes, prior]).abs().quantile(0.999))
    axis = torch.linspace(-limit, limit, GRID, device=pairs[0].guide.nodes[name]["value"].device)
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    z = {name: torch.stack([columns, rows], -1).view(-1, 2)}
    log_qz = log_prob_over(encodings or [pair.aggregate_posterior for pair in pairs], z)
    log_pz = pairs[0].prior.log_prob(z)
    log_qz, log_pz = (log_prob.view(GRID, GRID).cpu() for log_prob in (log_qz, log_pz))
    return axis.cpu().numpy(), log_qz.numpy(), log_pz.numpy()


def _is_plane(pair: TracePair) -> bool:
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
