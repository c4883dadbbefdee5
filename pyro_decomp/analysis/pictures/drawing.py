"""All of a run's pictures, to its folder."""

import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from pyro_decomp import plots
from pyro_decomp.analysis.pictures import factors, latent_plane, outputs, traversals
from pyro_decomp.analysis.pictures.picture_data import PictureData
from pyro_decomp.analysis.quantities import by_itself
from pyro_decomp.seeds import seeded
from pyro_decomp.training.run import Run

Picture = Figure | np.ndarray


def draw(run: Run, *, seed: int = 0) -> list[Path]:
    """Draw the pictures that a run allows into ``plots/``.

    Those of docs/run_folder.md: terms over the steps, reconstructions, draws of the prior and
    traversals of every run with data that can be drawn; densities of two latents; and what the
    ground-truth factors allow. Each is drawn by itself: one that cannot be is left out with a
    warning that says why.

    Args:
        run: The run.
        seed: Of everything random; the global random generators are left as they were.

    Returns:
        The files, in the order of drawing.
    """
    run.folder.plots_path.mkdir(exist_ok=True)
    paths: list[Path] = []
    left_out: dict[str, str] = {}
    with seeded(seed), torch.no_grad():
        for name, drawn in _pictures(run, seed).items():
            with by_itself(left_out, name):
                picture, path = drawn(), run.folder.plots_path / name
                if isinstance(picture, Figure):
                    plots.save(picture, path)
                elif picture is not None:
                    plots.save_animation(picture, path)
                paths += [] if picture is None else [path]
    for reason in dict.fromkeys(left_out.values()):
        names = [name for name, why in left_out.items() if why == reason]
        verb = "is" if len(names) == 1 else "are"
        warnings.warn(f"{', '.join(names)} {verb} not drawn: {reason}", stacklevel=2)
    return paths


def _pictures(run: Run, seed: int) -> Mapping[str, Callable[[], Picture | None]]:
    """How each picture is drawn, by its file's name; it is None where the run does not allow it."""
    data = cache(lambda: PictureData(run, seed))
    grid = cache(lambda: latent_plane.grid_of(data()))
    moved = cache(lambda: traversals.moved_in(data()))
    known = cache(lambda: factors.FactorData.of(data()))
    return {
        "terms.png": lambda: _terms(run) if run.history else None,
        "reconstructions.png": lambda: outputs.reconstructions(data()),
        "prior_samples.png": lambda: outputs.prior_samples(data()),
        "aggregate_posterior.png": lambda: latent_plane.aggregate_posterior(grid()),
        "encodings.png": lambda: latent_plane.encodings(data(), grid()),
        "traversals.png": lambda: traversals.still(moved()),
        "traversals.gif": lambda: traversals.moving(moved()),
        "mutual_information.png": lambda: factors.mutual_information(data(), known()),
        "codes_against_factors.png": lambda: factors.codes_against_factors(data(), known()),
        "code_magnitudes.png": lambda: factors.code_magnitudes(data(), known()),
        "active_dimensions.png": lambda: factors.active_dimensions(data(), known()),
    }


def _terms(run: Run) -> Figure:
    """The columns of the history but for norms of single parameters' gradients."""
    shown = {name: column for name, column in run.history.items() if "[" not in name}
    without = {name: "" for name in shown if name.startswith(("learning_rate", "gradient_norm"))}
    return plots.terms_over_steps(shown, units=without)
