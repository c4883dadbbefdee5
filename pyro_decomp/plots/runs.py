"""Quantities of many runs: one against another, and how each spreads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.descriptions import constructor_call
from pyro_decomp.errors import ArgumentError
from pyro_decomp.plots.labels import named, width_of
from pyro_decomp.plots.style import (
    CATEGORIES,
    INK,
    add_legend,
    new_figure,
    round_ticks,
    styled,
    thin_ticks,
)

MARKERS = "osD^vP<>Xp"
CLOSE = 0.06, 0.04  # parts of the axes, in which a second word would lie on the first
SMALLEST, LARGEST = 8.0, 60.0  # areas of points, in square points
SPREAD = 0.8  # of the place of a group that its boxes take


@dataclass(frozen=True, repr=False)
class TradeOff:
    """The curve of one method in :func:`trade_offs`, its points in the order of its weight.

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

    __repr__ = constructor_call

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

    Returns:
        A figure with one panel, and a legend beside it.

    Raises:
        ArgumentError: If there is no curve or more than ten, arrays of one curve differ in length
            or are not finite, one edge of a band is without the other, or the edges are not about
            y.
    """
    arguments.annotated(trade_offs, locals())
    if not 1 <= len(curves) <= len(CATEGORIES):
        raise ArgumentError(
            f"curves: expected from 1 to {len(CATEGORIES)} curves, got {len(curves)}"
        )
    figure = new_figure(4.2, 3.0)
    axes = figure.add_subplot()
    thin_ticks(axes)
    labels: list[tuple[str, float, float]] = []
    for curve, colour, marker in zip(curves, CATEGORIES, MARKERS, strict=False):
        x = _row(curve.name, "x", curve.x)
        y = _row(curve.name, "y", curve.y, len(x))
        if curve.lower is not None and curve.upper is not None:
            low = _row(curve.name, "lower", curve.lower, len(x))
            high = _row(curve.name, "upper", curve.upper, len(x))
            if (low > y).any() or (high < y).any():
                raise ArgumentError(f"{curve.name}: expected lower <= y <= upper, got a y outside")
            around = np.r_[x, x[::-1]], np.r_[low, high[::-1]]  # in the order of the weight
            axes.fill(*around, color=colour, alpha=0.18, linewidth=0)
        elif curve.lower is not None or curve.upper is not None:
            raise ArgumentError(f"{curve.name}: expected both lower and upper, got one of them")
        axes.plot(
            x, y, color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=curve.name
        )
        if curve.weights is not None:
            words = named(f"{curve.name}: weights", curve.weights, len(x))
            labels += zip(words, x, y, strict=True)
    _annotate(axes, labels)
    _plane(axes, x_label, y_label)
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


@dataclass(frozen=True, repr=False)
class Points:
    """The runs of one method in :func:`scatter`.

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

    __repr__ = constructor_call

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

    Returns:
        A figure with one panel, and a legend where there are several methods.

    Raises:
        ArgumentError: If there is no method or more than ten, or arrays of one method differ in
            length or are not finite.
    """
    arguments.annotated(scatter, locals())
    if not 1 <= len(methods) <= len(CATEGORIES):
        raise ArgumentError(f"methods: expected from 1 to {len(CATEGORIES)}, got {len(methods)}")
    x = [_row(method.name, "x", method.x) for method in methods]
    y = [_row(method.name, "y", method.y, len(x_i)) for method, x_i in zip(methods, x, strict=True)]
    weights = [
        None if method.weights is None else _row(method.name, "weights", method.weights, len(x_i))
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
    _plane(axes, x_label, y_label)
    if len(methods) > 1 or weight_label is not None:
        add_legend(figure, handles, title=weight_label)
    return figure


@dataclass(frozen=True, repr=False)
class Boxes:
    """The boxes of one method in :func:`box_plots`.

    Attributes:
        name: The method.
        values: Of each group the values of the method's runs [runs]; none leaves a place empty.
    """

    name: str
    values: Sequence[ArrayLike]

    __repr__ = constructor_call

    def __post_init__(self) -> None:
        arguments.annotated(Boxes, vars(self))


@styled
def box_plots(
    groups: Sequence[str], methods: Sequence[Boxes], group_label: str, value_label: str
) -> Figure:
    """Quartiles of a quantity over runs, a place for each group and in it a box a method.

    A box reaches from the first quartile to the third with a line at the median, its whiskers to
    the last value within 1.5 times its height (Tukey's); every run is a dot.

    Args:
        groups: What is written under each place, such as the value of a weight.
        methods: At most ten.
        group_label: What the groups are.
        value_label: The quantity, with its unit.

    Returns:
        A figure with one panel, and a legend where there are several methods.

    Raises:
        ArgumentError: If there is no group, there is no method or more than ten, a method has not
            one array for each group, or a value is not finite.
    """
    arguments.annotated(box_plots, locals())
    if not groups:
        raise ArgumentError("groups: expected at least one, got none")
    if not 1 <= len(methods) <= len(CATEGORIES):
        raise ArgumentError(f"methods: expected from 1 to {len(CATEGORIES)}, got {len(methods)}")
    for method in methods:
        if len(method.values) != len(groups):
            raise ArgumentError(
                f"{method.name}: values: expected one array for each of {len(groups)} groups, "
                f"got {len(method.values)}"
            )
    values = [
        [_row(method.name, "values", runs, fewest=0) for runs in method.values]
        for method in methods
    ]
    across = max(0.3 + 0.16 * len(methods), 0.12)
    words = width_of(groups)
    upright = words > 0.9 * across
    figure = new_figure(
        min(max(0.9 + across * len(groups), 2.6), 9.0) + 1.2 * (len(methods) > 1),
        2.6 + words * upright,
    )
    axes = figure.add_subplot()
    thin_ticks(axes)
    width = SPREAD / len(methods)
    for i, (of_method, colour) in enumerate(zip(values, CATEGORIES, strict=False)):
        places = np.arange(len(groups)) + (i - (len(methods) - 1) / 2) * width
        some = [k for k, of_group in enumerate(of_method) if len(of_group)]
        if some:
            drawn = axes.boxplot(
                [of_method[k] for k in some], positions=places[some], widths=0.72 * width,
                showfliers=False, patch_artist=True, manage_ticks=False,
                medianprops={"color": INK, "linewidth": 1.2},
                boxprops={"edgecolor": colour, "linewidth": 0.8},
                whiskerprops={"color": colour, "linewidth": 0.8},
                capprops={"color": colour, "linewidth": 0.8},
            )  # fmt: skip
            for box in drawn["boxes"]:
                box.set_facecolor((colour, 0.3))
        for k in some:
            axes.scatter(
                np.full(len(of_method[k]), places[k]), of_method[k], s=5, c=colour, linewidths=0,
                zorder=3,
            )  # fmt: skip
    axes.set_xticks(range(len(groups)), groups, rotation=90 if upright else 0)
    axes.set_xlim(-0.5, len(groups) - 0.5)
    axes.yaxis.set_major_locator(round_ticks(6))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(group_label)
    axes.set_ylabel(value_label)
    if len(methods) > 1:
        handles = [
            Patch(facecolor=(colour, 0.3), edgecolor=colour, linewidth=0.8, label=method.name)
            for method, colour in zip(methods, CATEGORIES, strict=False)
        ]
        add_legend(figure, handles)
    return figure


def _plane(axes: Axes, x_label: str, y_label: str) -> None:
    """Name both axes of a plane, with few ticks and room about what is drawn."""
    axes.margins(0.08)
    axes.xaxis.set_major_locator(round_ticks(6))
    axes.yaxis.set_major_locator(round_ticks(6))
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)


def _row(
    name: str, field: str, values: ArrayLike, size: int | None = None, *, fewest: int = 1
) -> Float[np.ndarray, " n"]:
    """The numbers of one method, checked: as many as another field has, where its size is given."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < fewest or len(array) != (size or len(array)):
        expected = f"({size},)" if size else "(n,) with n >= 1" if fewest else "(n,)"
        raise ArgumentError(f"{name}: {field}: expected shape {expected}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ArgumentError(f"{name}: {field}: expected finite numbers, got some that are not")
    return array
