"""One quantity against another, a point a run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.plots.style import (
    CATEGORIES,
    add_legend,
    new_figure,
    round_ticks,
    styled,
    thin_ticks,
)
from pyro_decomp.plots.trade_off import MARKERS

SMALLEST, LARGEST = 8.0, 60.0  # areas of points, in square points


@dataclass(frozen=True)
class Points:
    """One method's runs in :func:`scatter`.

    Attributes:
        name: The method.
        x: The first quantity of each run [runs].
        y: The second quantity of each run [runs].
        weights: What the area of a point grows with [runs], such as the rank of a weight; all are
            small without.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    weights: ArrayLike | None = None

    def __post_init__(self) -> None:
        arguments.annotated(Points, vars(self))


@styled
def scatter(
    methods: Sequence[Points], x_label: str, y_label: str, *, weight_label: str | None = None
) -> Figure:
    """Two quantities of every run against each other, a colour and a mark for each method.

    Args:
        methods: At most ten.
        x_label: The first quantity, with its unit.
        y_label: The second quantity, with its unit.
        weight_label: What larger points stand for, written over the legend.

    Raises:
        ValueError: If there is no method or more than ten, or arrays of one method differ in length
            or are not finite.
    """
    arguments.annotated(scatter, locals())
    if not 1 <= len(methods) <= len(CATEGORIES):
        raise ValueError(f"methods: expected from 1 to {len(CATEGORIES)}, got {len(methods)}")
    x = [_runs(method, "x", method.x, None) for method in methods]
    y = [_runs(method, "y", method.y, len(x_i)) for method, x_i in zip(methods, x, strict=True)]
    weights = [
        None if method.weights is None else _runs(method, "weights", method.weights, len(x_i))
        for method, x_i in zip(methods, x, strict=True)
    ]
    given = np.concatenate([w for w in weights if w is not None] or [np.zeros(0)])
    low, span = (given.min(), max(np.ptp(given), 1e-300)) if len(given) else (0.0, 1.0)
    figure = new_figure(4.2, 3.0)
    axes = figure.add_subplot()
    thin_ticks(axes)
    handles = []
    for i, (method, colour, marker) in enumerate(zip(methods, CATEGORIES, MARKERS, strict=False)):
        own = weights[i]
        areas = 14.0 if own is None else SMALLEST + (LARGEST - SMALLEST) * (own - low) / span
        areas = np.broadcast_to(areas, x[i].shape)
        order = np.argsort(-areas, kind="stable")  # small marks lie on large ones
        axes.scatter(
            x[i][order], y[i][order], s=areas[order], c=colour, marker=marker, alpha=0.65,
            linewidths=0.4, edgecolors="white",
        )  # fmt: skip
        handles.append(
            Line2D(
                [], [], color=colour, marker=marker, linestyle="", markersize=4, label=method.name
            )
        )
    axes.margins(0.08)
    axes.xaxis.set_major_locator(round_ticks(6))
    axes.yaxis.set_major_locator(round_ticks(6))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if len(methods) > 1 or weight_label is not None:
        add_legend(figure, handles, title=weight_label)
    return figure


def _runs(
    method: Points, field: str, values: ArrayLike, size: int | None
) -> Float[np.ndarray, " runs"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or len(array) != (size or len(array)):
        expected = "(n,) with n >= 1" if size is None else f"({size},)"
        raise ValueError(f"{method.name}: {field}: expected shape {expected}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{method.name}: {field}: expected finite numbers, got some that are not")
    return array
