"""One picture an example: the truth, and what a run under each prior makes of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import structure_scores as scores
import torch
from matplotlib.figure import Figure
from structure_measures import draws
from torch import Tensor

from pyro_decomp.analysis.encoding import encode
from pyro_decomp.analysis.latents import codes
from pyro_decomp.plots.style import CATEGORIES, INK, QUIET, new_figure, styled, thin_ticks
from pyro_decomp.seeds import seeded
from pyro_decomp.training.run import Run

TURNS = 46  # angles of a rotation that are scored
Runs = dict[str, Run]  # of one seed, by prior
Names = dict[str, Any]  # what the example's file defines
TITLES = {
    "mixture": "prior of clusters",
    "sparse": "sparse prior",
    "nested": "prior of a tree",
    "flat": "prior of nine clusters",
    "subspaces": "prior of subspaces",
    "student_t": "Student-t prior",
    "anisotropic": "anisotropic prior",
    "isotropic": "isotropic prior",
}


@styled
def clusters(runs: Runs, names: Names, seed: int) -> Figure:
    """The data and draws of each model, along the two directions in which the data vary most."""
    x, cloud = names["clouds"](1000, seed=seed, draw=2)
    _, _, directions = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    shown = {"data": x} | {_drawn(prior): draws(run, seed=seed) for prior, run in runs.items()}
    planes = {title: (points - x.mean(0)) @ directions[:2].T for title, points in shown.items()}
    return _scatters(planes, [np.array(CATEGORIES)[cloud.numpy()], INK, INK])


@styled
def hierarchy(runs: Runs, names: Names, seed: int) -> Figure:
    """The data and draws of each model."""
    x, leaf = names["points"](1000, seed=seed, draw=2)
    colours = np.array(CATEGORIES)[leaf.numpy() // names["BRANCHES"]]
    shown = {"data": x} | {_drawn(prior): draws(run, seed=seed) for prior, run in runs.items()}
    return _scatters(shown, [colours, *[INK] * len(runs)])


@styled
def sparsity(runs: Runs, names: Names, seed: int) -> Figure:
    """What each latent draws, beside the bar that it is matched with."""
    _, sources = names["bars"](2000, seed=seed)
    truth = names["dictionary"]()
    rows = {"the bars": truth}
    for prior, run in runs.items():
        order, _ = scores.matched(scores.correlations(sources, codes(run)))
        rows[f"latents,\n{TITLES[prior]}"] = run.model.__self__.decoder.loc.weight.detach().T[order]
    return _strips(rows, truth, names["SIDE"], 1)


@styled
def subspaces(runs: Runs, names: Names, seed: int) -> Figure:
    """What each pair of latents draws, beside the grating that it is matched with."""
    _, sources = names["gratings"](2000, seed=seed)
    truth = names["dictionary"]()
    rows = {"the gratings": truth}
    for prior, run in runs.items():
        order, _ = scores.matched(scores.explained(sources, codes(run), 2))
        pairs = run.model.__self__.decoder.loc.weight.detach().T.unflatten(0, (-1, 2))
        rows[f"latents,\n{TITLES[prior]}"] = pairs[order].flatten(0, 1)
    return _strips(rows, truth, names["SIDE"], 2)


@styled
def axes(runs: Runs, names: Names, seed: int) -> Figure:
    """Which latent follows which dial, and what a rotation of the codes costs."""
    _, dials = names["sensors"](1000, seed=seed)
    figure = new_figure(1.75 * len(runs) + 2.6, 2.0)
    panels = figure.subplots(1, len(runs) + 1, width_ratios=[*[1] * len(runs), 1.3])
    for panel, (prior, run) in zip(panels, runs.items(), strict=False):
        table = scores.correlations(dials, codes(run))
        order, _ = scores.matched(table)
        panel.imshow(table[:, order].numpy(), vmin=0, vmax=1, cmap="Greys")
        for (row, column), value in np.ndenumerate(table[:, order].numpy()):
            colour = "white" if value > 0.5 else INK
            panel.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, size=6)
        labels = [str(k + 1) for k in range(len(order))]
        panel.set_xticks(range(len(order)), labels)
        panel.set_yticks(range(len(order)), labels)
        panel.set(title=TITLES[prior], xlabel="latent", ylabel="dial")
        thin_ticks(panel)
    for run, (prior, colour) in zip(
        runs.values(), zip(runs, CATEGORIES, strict=False), strict=True
    ):
        degrees, change = rotated(run, seed)
        panels[-1].plot(degrees.numpy(), change.numpy(), color=colour, label=TITLES[prior])
    panels[-1].set(title="ELBO when two latents are rotated", xlabel="degrees", ylabel="nats")
    panels[-1].set_xticks([0, 45, 90])
    panels[-1].legend()
    thin_ticks(panels[-1])
    return figure


def rotated(run: Run, seed: int) -> tuple[Tensor, Tensor]:
    """How the ELBO changes as the first two latents are rotated, the decoder with them.

    Only E[log p(z)] changes: the encodings keep their entropy, and the decoder undoes the turn.
    """
    with seeded(seed), torch.no_grad():
        (pair,) = encode(run, run.data)
        z = pair.guide.nodes["z"]["value"]
        degrees = torch.linspace(0, 90, TURNS)
        change = []
        for angle in degrees.deg2rad():
            turned = z.clone()
            turned[:, 0] = angle.cos() * z[:, 0] - angle.sin() * z[:, 1]
            turned[:, 1] = angle.sin() * z[:, 0] + angle.cos() * z[:, 1]
            change.append(pair.prior.log_prob({"z": turned}).mean())
    return degrees, torch.stack(change) - change[0]


def _drawn(prior: str) -> str:
    return f"drawn, {TITLES[prior]}"


def _scatters(planes: dict[str, Tensor], colours: Sequence[Any]) -> Figure:
    """Points in the plane, in panels with the same axes."""
    low, high = next(iter(planes.values())).aminmax(dim=0)
    margin = 0.25 * (high - low)
    (left, bottom), (right, top) = (low - margin).tolist(), (high + margin).tolist()
    figure = new_figure(2.1 * len(planes) + 0.2, 2.0 * (top - bottom) / (right - left) + 0.4)
    panels = figure.subplots(1, len(planes), sharex=True, sharey=True)
    for panel, (title, points), colour in zip(panels, planes.items(), colours, strict=True):
        panel.scatter(*points.T.numpy(), s=3, c=colour, linewidths=0)
        panel.set(title=title, aspect="equal", xlim=(left, right), ylim=(bottom, top))
        thin_ticks(panel)
    return figure


def _strips(rows: dict[str, Tensor], truth: Tensor, side: int, together: int) -> Figure:
    """Rows of small pictures, single ones with the sign that makes them most like the true one.

    Those that belong ``together`` have frames of one colour.
    """
    count = len(truth)
    figure = new_figure(0.5 * count + 0.8, 0.55 * len(rows) + 0.1)
    grid = figure.subplots(len(rows), count)
    for panels, (title, images) in zip(grid, rows.items(), strict=True):
        panels[0].set_ylabel(title, rotation=0, ha="right", va="center", labelpad=4)
        for index, (panel, image) in enumerate(zip(panels, images, strict=True)):
            flipped = together == 1 and image @ truth[index] < 0
            picture, limit = image.view(side, side).numpy(), image.abs().max().item()
            panel.imshow(-picture if flipped else picture, cmap="RdBu_r", vmin=-limit, vmax=limit)
            panel.set(xticks=[], yticks=[])
            colour = QUIET if together == 1 else CATEGORIES[index // together]
            for spine in panel.spines.values():
                spine.set(color=colour, linewidth=min(together, 1.8))
    return figure
