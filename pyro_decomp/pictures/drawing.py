"""All of a run's pictures, to its folder."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from pyro_decomp import plots
from pyro_decomp.pictures import classes, factors, latent_plane, outputs, traversals
from pyro_decomp.pictures.scene import Scene
from pyro_decomp.run import Run
from pyro_decomp.seeds import seeded

Picture = Figure | np.ndarray


def draw(run: Run, *, seed: int = 0) -> list[Path]:
    """Draw the pictures that a run allows into ``plots/``.

    Those of docs/run_folder.md: terms over the steps, reconstructions, draws of the prior and
    traversals of every run with data that can be drawn; densities of two latents; and what the
    ground-truth factors allow.

    Args:
        run: The run.
        seed: Of everything random; the global random generators are left as they were.

    Returns:
        The files, in the order of drawing.
    """
    run.folder.plots_path.mkdir(exist_ok=True)
    paths = []
    with seeded(seed), torch.no_grad():
        for name, picture in _pictures(run, seed):
            suffix = "png" if isinstance(picture, Figure) else "gif"
            paths.append(run.folder.plots_path / f"{name}.{suffix}")
            if isinstance(picture, Figure):
                plots.save(picture, paths[-1])
            else:
                plots.save_animation(picture, paths[-1])
    return paths


def _pictures(run: Run, seed: int) -> Iterator[tuple[str, Picture]]:
    if run.history:
        yield "terms", plots.terms_over_steps(run.history)
    scene = Scene(run, seed)
    yield from outputs.pictures(scene)
    yield from latent_plane.pictures(scene)
    yield from traversals.pictures(scene)
    if known := factors.Known.of(scene):
        yield from factors.pictures(scene, known)
        yield from classes.pictures(scene, known)
