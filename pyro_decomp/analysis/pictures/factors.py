"""Codes against the ground-truth factors of the data."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from pyro_decomp import plots
from pyro_decomp.analysis.encoder_of_run import MAX_ROWS, Encoder
from pyro_decomp.analysis.pictures.scene import MAX_DRAWN, Scene
from pyro_decomp.metrics import mig

MAX_LATENTS = 10  # rows
ELEMENTS = 2**22  # of the data that are encoded
MAX_VALUES = 200  # of a factor that codes are drawn against
PLANE = ("x", "y")  # factors of these names share a map


@dataclass(frozen=True)
class Known:
    """Factors that vary, and mean codes of the same data.

    Attributes:
        factors: Those factors.
        names: Theirs.
        codes: A column each of the scene's.
        of_scene: The factors of the scene's data.
    """

    factors: Int[np.ndarray, "n k"]
    names: list[str]
    codes: Float[np.ndarray, "n d"]
    of_scene: Int[np.ndarray, "m k"]

    @classmethod
    def of(cls, scene: Scene) -> "Known | None":
        """Of up to 10,000 training data, fewer where they are large.

        Returns:
            None where no factor that varies is known.
        """
        trial = scene.run.experiment
        if trial.factors is None or trial.factor_names is None or not scene.columns:
            return None
        data = scene.run.data
        affordable = max(ELEMENTS // data.datum_size, MAX_DRAWN)
        encoder = Encoder(scene.run, data, scene.seed, max_rows=min(affordable, MAX_ROWS))
        factors, of_scene = (
            trial.factors.cpu()[rows].numpy() for rows in (encoder.rows, scene.rows)
        )
        varying = [k for k, column in enumerate(factors.T) if len(np.unique(column)) > 1]
        if not varying:
            return None
        names = [trial.factor_names[k] for k in varying]
        codes = encoder.continuous.numpy()
        return cls(factors[:, varying], names, codes, of_scene[:, varying])


def mutual_information(scene: Scene, known: Known | None) -> Figure | None:
    """The information that each code has of each factor."""
    if known is None:
        return None
    score = mig(known.codes, known.factors, num_resamples=0)
    return plots.mutual_information(
        score.details["mutual_information"],
        known.names,
        names=[column.label for column in scene.columns],
        entropies=score.details["entropy"],
        most=MAX_LATENTS,
    )


def codes_against_factors(scene: Scene, known: Known | None) -> Figure | None:
    """Mean codes of each value of each factor, of factors that do not have too many values."""
    if known is None:
        return None
    few = [k for k, column in enumerate(known.factors.T) if len(np.unique(column)) <= MAX_VALUES]
    if not few:
        return None
    names = [known.names[k] for k in few]
    shown = scene.order[:MAX_LATENTS]
    return plots.codes_against_factors(
        known.codes[:, shown],
        known.factors[:, few],
        names,
        pairs=[PLANE] if set(PLANE) <= set(names) else [],
        names=[scene.columns[d].label for d in shown],
        information=None if scene.information is None else scene.information[shown],
    )
