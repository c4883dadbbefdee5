"""The pictures of a run, drawn from its encodings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyro_decomp import plots
from pyro_decomp.aggregate_posterior import log_prob_over
from pyro_decomp.data.batches import Data
from pyro_decomp.evaluation import Encodings, encode, seeded, spread
from pyro_decomp.run import Run
from pyro_decomp.traces import TracePair

GRID = 200
MAX_DRAWN = 2000  # data whose encodings and reconstructions are drawn; the density is of all


def draw(run: Run, *, seed: int = 0) -> list[Path]:
    """Draw a run's pictures into ``plots/``: terms, reconstructions, and of 2-D codes the density.

    Args:
        run: The run.
        seed: Of the samples that are drawn.

    Returns:
        The files, in the order of drawing.
    """
    figures = {"terms": plots.terms_over_steps(run.history)} if run.history else {}
    with seeded(seed), torch.no_grad():
        some = Data.of(spread(run.data, MAX_DRAWN))
        pairs = list(encode(run, some))
        x, reconstruction = _reconstruct(pairs, some)
        figures["reconstructions"] = plots.reconstructions(x, reconstruction)
        if _latent_dim(pairs[0]) == 2:
            encodings = [pair.aggregate_posterior for pair in encode(run, run.data)]
            grid, log_qz, log_pz = density_on_grid(pairs, encodings=encodings)
            figures["aggregate_posterior"] = plots.aggregate_density(grid, grid, log_qz, log_pz)
            loc, covariance = _moments(pairs)
            figures["encodings"] = plots.encodings(loc, covariance, grid, grid, log_pz)
    run.folder.plots_path.mkdir(exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(run.folder.plots_path / f"{name}.png")
        plots.save(figure, paths[-1])
    return paths


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


def _latent_dim(pair: TracePair) -> int | None:
    """The size of the latent space where it is one site of one event dimension."""
    if len(pair.latents) != 1:
        return None
    fn = pair.guide.nodes[pair.latents[0]]["fn"]
    return fn.event_shape[0] if len(fn.event_shape) == 1 and len(fn.batch_shape) == 1 else None


def _reconstruct(pairs: list[TracePair], data: Data) -> tuple[Tensor, Tensor]:
    """Data and the means of their likelihood given a sampled code, of the first tensor of data.

    Its site is the one that observes its values, or else the first observed one.
    """
    first = pairs[0]
    x = data.tensors[0][: first.batch_size]
    names = [n for n in first.observed if torch.equal(first.model.nodes[n]["value"], x)]
    sites = [pair.model.nodes[(names or first.observed)[0]] for pair in pairs]
    return (
        torch.cat([site["value"] for site in sites]).cpu(),
        torch.cat([site["fn"].mean for site in sites]).cpu(),
    )


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
