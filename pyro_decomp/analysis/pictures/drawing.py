"""All of a run's pictures, to its folder."""

import warnings
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any

import torch

from pyro_decomp.analysis.pictures import factors, latent_plane, outputs, traversals
from pyro_decomp.analysis.pictures.picture_data import PictureData, drawing_of
from pyro_decomp.analysis.plot_calls import Drawing, save_drawn
from pyro_decomp.analysis.quantities import by_itself
from pyro_decomp.errors import tidied, writing
from pyro_decomp.seeds import seeded
from pyro_decomp.training.experiment import few_threads
from pyro_decomp.training.run import Run
from pyro_decomp.training.second_process import SecondProcess


def draw(run: Run, *, seed: int = 0, beside: SecondProcess | None = None) -> list[Path]:
    """Draw the pictures that a run allows into ``plots/``.

    Those of docs/run_folder.md: terms over the steps, reconstructions, draws of the prior and
    traversals of every run with data that can be drawn; densities of two latents; and what the
    ground-truth factors allow. Each is drawn by itself: one that cannot be is left out with a
    warning that says why.

    Args:
        run: The run.
        seed: Of everything random; the global random generators are left as they were.
        beside: A process that draws a picture whenever it has none to draw, while this one draws
            others; the pictures are the same.

    Returns:
        The files, in the order of drawing.

    Raises:
        DiskError: A picture cannot be written.
    """
    run.folder.plots_path.mkdir(exist_ok=True)
    drawn: dict[str, Path] = {}
    left_out: dict[str, str] = {}
    sharing = _Sharing(beside)
    with tidied(run.folder.plots_path), seeded(seed), torch.no_grad(), few_threads(run.experiment):
        for name, prepared in _pictures(run, seed).items():
            with by_itself(left_out, name), writing(run.folder.plots_path):
                if drawing := prepared():
                    drawn[name] = run.folder.plots_path / name
                    sharing.draw(name, drawing, drawn[name])
    for name in sharing.elsewhere:
        with by_itself(left_out, name), writing(run.folder.plots_path):
            sharing.wait_for(name)
    for reason in dict.fromkeys(left_out.values()):
        names = [name for name, why in left_out.items() if why == reason]
        verb = "is" if len(names) == 1 else "are"
        warnings.warn(f"{', '.join(names)} {verb} not drawn: {reason}", stacklevel=2)
    return [path for name, path in drawn.items() if name not in left_out]


class _Sharing:
    """Pictures drawn by this process and, whenever it has none to draw, by another."""

    def __init__(self, other: SecondProcess | None) -> None:
        self._other = other
        self.elsewhere: dict[str, tuple[Future[list[Warning]], Drawing, Path]] = {}

    def draw(self, name: str, drawing: Drawing, path: Path) -> None:
        """Draw a picture, or have it drawn."""
        if self._other is not None and self._other.is_idle:
            found = self._other.submit(save_drawn, drawing, path)
            self.elsewhere[name] = found, drawing, path
        else:
            _warn_of(save_drawn(drawing, path))

    def wait_for(self, name: str) -> None:
        """Wait for a picture that the other process has; draw it here if that process has died."""
        found, drawing, path = self.elsewhere[name]
        try:
            _warn_of(found.result())
        except EOFError:
            _warn_of(save_drawn(drawing, path))


def _warn_of(caught: list[Warning]) -> None:
    for message in caught:
        warnings.warn(message, stacklevel=4)


def _pictures(run: Run, seed: int) -> Mapping[str, Callable[[], Drawing | None]]:
    """What each picture is drawn from, by its file's name; None where the run does not allow it."""
    data = cache(lambda: PictureData(run, seed))
    grid = cache(lambda: latent_plane.grid_of(data()))
    moved = cache(lambda: traversals.moved_in(data()))
    known = cache(lambda: factors.FactorData.of(data()))
    return {
        "terms.png": lambda: terms_drawing(run) if run.history else None,
        "reconstructions.png": lambda: outputs.reconstructions(data()),
        "prior_samples.png": lambda: outputs.prior_samples(data()),
        "aggregate_posterior.png": lambda: latent_plane.aggregate_posterior(grid()),
        "encodings.png": lambda: latent_plane.encodings(data(), grid(), known()),
        "traversals.gif": lambda: traversals.moving(moved()),  # the longest of those that are left
        "traversals.png": lambda: traversals.still(moved()),
        "mutual_information.png": lambda: factors.mutual_information(data(), known()),
        "codes_against_factors.png": lambda: factors.codes_against_factors(data(), known()),
        "code_magnitudes.png": lambda: factors.code_magnitudes(data(), known()),
        "active_dimensions.png": lambda: factors.active_dimensions(data(), known()),
    }


def terms_drawing(run: Run, names: Collection[str] | None = None) -> Drawing:
    """Columns of the history, by default all but norms of single parameters' gradients.

    The objective, the ELBO and its terms are in nats; of the unit of other columns (numbers with a
    schedule, rates, a callback's own) nothing is known.
    """
    names = [name for name in run.history if "[" not in name] if names is None else names
    shown = {name: run.history[name] for name in names}
    weights: Mapping[str, Any] = getattr(run.experiment.elbo, "weights", dict)()
    in_nats = {"objective", "elbo", "supervision", *weights}
    return drawing_of("terms_over_steps", shown, units=dict.fromkeys({*shown} - in_nats, ""))
