"""Which dimensions are active in which class of the data, and what they do there."""

import numpy as np
from jaxtyping import Int
from matplotlib.figure import Figure

from pyro_decomp import plots
from pyro_decomp.analysis.pictures.factors import Known
from pyro_decomp.analysis.pictures.scene import Scene
from pyro_decomp.analysis.pictures.traversals import can_move, decode, ranges, typical

MAX_CLASSES = 20  # of a factor that is taken for a label
MAX_DIMENSIONS, DATA_OF_A_CLASS = 4, 3
MAX_BARS = 50


def code_magnitudes(scene: Scene, known: Known | None) -> Figure | None:
    """The magnitude of codes in each class, where the only factor is a label."""
    if known is None or not _is_label(known):
        return None
    return plots.code_magnitudes(
        known.codes,
        known.factors[:, 0],
        class_names=[f"{known.names[0]} {k}" for k in np.unique(known.factors)],
        names=[column.label for column in scene.columns],
        most=MAX_BARS,
    )


def active_dimensions(scene: Scene, known: Known | None) -> Figure | None:
    """Traversals of the dimensions that are active in one class more than in the others.

    About data of that class, where the only factor is a label, as in figure 5 of Mathieu et al.
    2019 (https://arxiv.org/abs/1812.02833).
    """
    if known is None or not _is_label(known):
        return None
    labels = [column.label for column in scene.columns]
    found = _most_active(scene, known.of_scene[:, 0])
    decoded, values, blocks = [], [], []
    for d, k in found:
        chosen = typical(scene, np.flatnonzero(known.of_scene[:, 0] == k), DATA_OF_A_CLASS)
        if len(chosen) < DATA_OF_A_CLASS:
            continue
        steps = ranges(scene, np.arange(len(scene.data)))[d]
        decoded.append([decode(scene, datum, d, steps) for datum in chosen])
        values.append([steps] * DATA_OF_A_CLASS)
        blocks.append(f"{labels[d]}: {known.names[0]} {k}")
    if not blocks:
        return None
    rows = [f"datum {i + 1}" for i in range(DATA_OF_A_CLASS)]
    return plots.traversals(np.stack(decoded), np.stack(values), components=blocks, names=rows)


def _is_label(known: Known) -> bool:
    return known.factors.shape[1] == 1 and len(np.unique(known.factors)) <= MAX_CLASSES


def _most_active(scene: Scene, classes: Int[np.ndarray, " n"]) -> list[tuple[int, int]]:
    """Dimensions with the class that each is active in, the most particular to a class first.

    Of the more informative half, by the largest mean magnitude in a class over that in all.
    """
    different = np.unique(classes)
    means = np.stack([np.abs(scene.codes[classes == k]).mean(0) for k in different])
    half = scene.order[: max(1, len(scene.order) // 2)]
    candidates = [d for d in half.tolist() if can_move(scene, scene.columns[d])]
    particular = (means.max(0) / np.maximum(means.mean(0), np.finfo(float).tiny)).tolist()
    chosen = sorted(candidates, key=lambda d: -particular[d])[:MAX_DIMENSIONS]
    return [(d, int(different[means[:, d].argmax()])) for d in chosen]
