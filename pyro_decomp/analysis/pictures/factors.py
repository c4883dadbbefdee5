"""Codes against the ground-truth factors of the data, and against classes where one is a label."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from pyro_decomp.analysis.pictures.picture_data import MAX_DRAWN, PictureData, drawing_of
from pyro_decomp.analysis.pictures.traversals import can_move, decode, ranges, typical
from pyro_decomp.analysis.plot_calls import Drawing
from pyro_decomp.analysis.representations import MAX_ROWS, Representations
from pyro_decomp.metrics import mig

MAX_LATENTS = 10  # rows
ELEMENTS = 2**22  # of the data that are encoded
MAX_VALUES = 200  # of a factor that codes are drawn against
PLANE = ("x", "y")  # factors of these names share a map
MAX_CLASSES = 20  # of a factor that is taken for a label
MAX_DIMENSIONS, DATA_OF_A_CLASS = 4, 3
MAX_BARS = 50
MAX_COLOURS = 10  # of encodings


@dataclass(frozen=True)
class FactorData:
    """Factors that vary, and mean codes of the same data.

    Attributes:
        factors: The values of those factors.
        names: The names of the factors.
        codes: Their mean codes, a column for each of :attr:`.PictureData.columns`.
        of_drawn: The factors of the data that are drawn.
    """

    factors: Int[np.ndarray, "n k"]
    names: list[str]
    codes: Float[np.ndarray, "n d"]
    of_drawn: Int[np.ndarray, "m k"]

    @classmethod
    def of(cls, data: PictureData) -> "FactorData | None":
        """The factors of up to 10,000 training data, fewer where they are large.

        Returns:
            None where no factor that varies is known.
        """
        trial = data.run.experiment
        if trial.factors is None or trial.factor_names is None or not data.columns:
            return None
        affordable = max(ELEMENTS // data.encoded.data.datum_size, MAX_DRAWN)
        codes = Representations(data.encoded, data.seed, max_rows=min(affordable, MAX_ROWS))
        factors, of_drawn = (trial.factors.cpu()[rows].numpy() for rows in (codes.rows, data.rows))
        varying = [k for k, column in enumerate(factors.T) if len(np.unique(column)) > 1]
        if not varying:
            return None
        names = [trial.factor_names[k] for k in varying]
        continuous = codes.continuous.numpy()
        return cls(factors[:, varying], names, continuous, of_drawn[:, varying])

    @property
    def few_valued(self) -> tuple[str, Int[np.ndarray, " m"]] | None:
        """The first factor that ten colours tell apart: its name and its values of the data drawn.

        None where every factor has more values.
        """
        for name, values in zip(self.names, self.of_drawn.T, strict=True):
            if len(np.unique(values)) <= MAX_COLOURS:
                return name, values
        return None


def mutual_information(data: PictureData, known: FactorData | None) -> Drawing | None:
    """The information that each code has of each factor."""
    if known is None:
        return None
    score = mig(known.codes, known.factors, num_resamples=0)
    return drawing_of(
        "mutual_information",
        score.details["mutual_information"],
        known.names,
        names=[column.label for column in data.columns],
        entropies=score.details["entropy"],
        most=MAX_LATENTS,
    )


def codes_against_factors(data: PictureData, known: FactorData | None) -> Drawing | None:
    """Mean codes at each value of each factor that does not have too many values."""
    if known is None:
        return None
    few = [k for k, column in enumerate(known.factors.T) if len(np.unique(column)) <= MAX_VALUES]
    if not few:
        return None
    names = [known.names[k] for k in few]
    shown = data.order[:MAX_LATENTS]
    return drawing_of(
        "codes_against_factors",
        known.codes[:, shown],
        known.factors[:, few],
        names,
        pairs=[PLANE] if set(PLANE) <= set(names) else [],
        names=[data.columns[d].label for d in shown],
        information=None if data.information is None else data.information[shown],
    )


def code_magnitudes(data: PictureData, known: FactorData | None) -> Drawing | None:
    """The magnitude of codes in each class, where the only factor is a label.

    Of codes of two dimensions the plane with the encodings in the colours of the label says it all.
    """
    if known is None or not _is_label_of_many(data, known):
        return None
    return drawing_of(
        "code_magnitudes",
        known.codes,
        known.factors[:, 0],
        class_names=[f"{known.names[0]} {k}" for k in np.unique(known.factors)],
        names=[column.label for column in data.columns],
        most=MAX_BARS,
    )


def active_dimensions(data: PictureData, known: FactorData | None) -> Drawing | None:
    """Traversals of the dimensions that are active in one class more than in the others.

    About data of that class, as in figure 5 of Mathieu et al. 2019
    (https://arxiv.org/abs/1812.02833), where :func:`code_magnitudes` are drawn.
    """
    if known is None or not _is_label_of_many(data, known):
        return None
    labels = [column.label for column in data.columns]
    found = _most_active(data, known.of_drawn[:, 0])
    decoded, values, blocks = [], [], []
    for d, k in found:
        chosen = typical(data, np.flatnonzero(known.of_drawn[:, 0] == k), DATA_OF_A_CLASS)
        if len(chosen) < DATA_OF_A_CLASS:
            continue
        steps = ranges(data, np.arange(len(data)))[d]
        decoded.append([decode(data, datum, d, steps) for datum in chosen])
        values.append([steps] * DATA_OF_A_CLASS)
        blocks.append(f"{labels[d]}: {known.names[0]} {k}")
    if not blocks:
        return None
    rows = [f"datum {i + 1}" for i in range(DATA_OF_A_CLASS)]
    return drawing_of(
        "traversals", np.stack(decoded), np.stack(values), components=blocks, names=rows
    )


def _is_label_of_many(data: PictureData, known: FactorData) -> bool:
    """Whether the only factor is a label, of codes of more dimensions than a plane has."""
    is_label = known.factors.shape[1] == 1 and len(np.unique(known.factors)) <= MAX_CLASSES
    return is_label and len(data.columns) > 2


def _most_active(data: PictureData, classes: Int[np.ndarray, " n"]) -> list[tuple[int, int]]:
    """Dimensions with the class that each is active in, the most particular to a class first.

    Of the more informative half, by the largest mean magnitude in a class over that in all.
    """
    different = np.unique(classes)
    means = np.stack([np.abs(data.codes[classes == k]).mean(0) for k in different])
    half = data.order[: max(1, len(data.order) // 2)]
    candidates = [d for d in half.tolist() if can_move(data, data.columns[d])]
    particular = (means.max(0) / np.maximum(means.mean(0), np.finfo(float).tiny)).tolist()
    chosen = sorted(candidates, key=lambda d: -particular[d])[:MAX_DIMENSIONS]
    return [(d, int(different[means[:, d].argmax()])) for d in chosen]
