"""What one quantity costs in another, method by method."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.plots.latents import named
from pyro_decomp.plots.style import (
    CATEGORIES,
    add_legend,
    new_figure,
    round_ticks,
    styled,
    thin_ticks,
)

MARKERS = "osD^vP<>Xp"
CLOSE = 0.06, 0.04  # parts of the axes, in which a second word would lie on the first


@dataclass(frozen=True)
class TradeOff:
    """One method's curve in :func:`trade_offs`, its points in the order of its weight.

    Attributes:
        name: The method.
        x: The first quantity at each weight [points].
        y: The second quantity at each weight [points].
        lower: The lower edge of the band about ``y`` [points]; no band without both edges.
        upper: The upper edge [points].
        weights: What to write at each point that is not close to another, such as the weight's
            value.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    lower: ArrayLike | None = None
    upper: ArrayLike | None = None
    weights: Sequence[str] | None = None

    def __post_init__(self) -> None:
        arguments.annotated(TradeOff, vars(self))


@styled
def trade_offs(
    curves: Sequence[TradeOff], x_label: str, y_label: str, *, weight_label: str | None = None
) -> Figure:
    """Two quantities against each other as a weight changes, a curve with its band a method.

    Args:
        curves: At most ten methods.
        x_label: The first quantity, with its unit.
        y_label: The second quantity, with its unit.
        weight_label: What is written at the points, said over the legend.

    Raises:
        ValueError: If there is no curve or more than ten, arrays of one curve differ in length or
            are not finite, one edge of a band is without the other, or the edges are not about y.
    """
    arguments.annotated(trade_offs, locals())
    if not 1 <= len(curves) <= len(CATEGORIES):
        raise ValueError(f"curves: expected from 1 to {len(CATEGORIES)} curves, got {len(curves)}")
    figure = new_figure(4.2, 3.0)
    axes = figure.add_subplot()
    thin_ticks(axes)
    labels: list[tuple[str, float, float]] = []
    for curve, colour, marker in zip(curves, CATEGORIES, MARKERS, strict=False):
        x = _points(curve, "x", curve.x, None)
        y = _points(curve, "y", curve.y, len(x))
        if curve.lower is not None and curve.upper is not None:
            low = _points(curve, "lower", curve.lower, len(x))
            high = _points(curve, "upper", curve.upper, len(x))
            if (low > y).any() or (high < y).any():
                raise ValueError(f"{curve.name}: expected lower <= y <= upper, got a y outside")
            around = np.r_[x, x[::-1]], np.r_[low, high[::-1]]  # in the order of the weight
            axes.fill(*around, color=colour, alpha=0.18, linewidth=0)
        elif curve.lower is not None or curve.upper is not None:
            raise ValueError(f"{curve.name}: expected both lower and upper, got one of them")
        axes.plot(
            x, y, color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=curve.name
        )
        if curve.weights is not None:
            words = named(f"{curve.name}: weights", curve.weights, len(x))
            labels += zip(words, x, y, strict=True)
    _annotate(axes, labels)
    axes.margins(0.08)
    axes.xaxis.set_major_locator(round_ticks(6))
    axes.yaxis.set_major_locator(round_ticks(6))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    add_legend(figure, axes.get_legend_handles_labels()[0], title=weight_label)
    return figure


def _annotate(axes: Axes, labels: Sequence[tuple[str, float, float]]) -> None:
    """Write words at points, of those that are close together at the first alone."""
    size = np.array([np.ptp(axes.dataLim.intervalx), np.ptp(axes.dataLim.intervaly)])
    size[size == 0] = 1.0
    written: list[Float[np.ndarray, " 2"]] = []
    for word, x, y in labels:
        place = np.array([x, y]) / size
        if any((np.abs(place - other) < CLOSE).all() for other in written):
            continue
        written.append(place)
        axes.annotate(
            word, (x, y), xytext=(2.5, 2.5), textcoords="offset points", fontsize=6,
            color="#404040",
        )  # fmt: skip


def _points(
    curve: TradeOff, field: str, values: ArrayLike, size: int | None
) -> Float[np.ndarray, " points"]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or len(array) != (size or len(array)):
        expected = "(n,) with n >= 1" if size is None else f"({size},)"
        raise ValueError(f"{curve.name}: {field}: expected shape {expected}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{curve.name}: {field}: expected finite numbers, got some that are not")
    return array
