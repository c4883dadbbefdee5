"""Estimates with their intervals: tables over seeds as pictures."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.plots.latents import named, width_of
from pyro_decomp.plots.style import DATA, QUIET, new_figure, round_ticks, styled, thin_ticks

Estimates = Float[np.ndarray, "methods quantities"]


@styled
def intervals(
    methods: Sequence[str],
    estimate: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    quantities: Sequence[str] | None = None,
    runs: Sequence[ArrayLike] | None = None,
    baseline: ArrayLike | None = None,
) -> Figure:
    """A dot with its interval for each method, a panel for each quantity.

    Args:
        methods: Their names, from the top.
        estimate: Estimates [methods] or [methods, quantities]; one that is not a number leaves its
            place empty.
        lower: Lower ends of the intervals, shaped as the estimates.
        upper: Upper ends of the intervals, shaped as the estimates.
        quantities: Of each panel its name, with the unit.
        runs: Of each method the values of its single runs [runs] or [runs, quantities], drawn as
            pale dots.
        baseline: A broken line in each panel [quantities], such as the score of an untrained
            encoder.

    Raises:
        ValueError: If a shape is not as above, names are too few or too many, or an estimate lies
            outside its interval.
    """
    arguments.annotated(intervals, locals())
    middle = _estimates("estimate", estimate, None)
    low, high = (_estimates(n, v, middle) for n, v in (("lower", lower), ("upper", upper)))
    outside = (low > middle) | (high < middle)
    if outside.any():
        i, j = np.argwhere(outside)[0]
        raise ValueError(
            f"lower, upper: expected intervals about the estimates, got "
            f"[{low[i, j]:g}, {high[i, j]:g}] about {middle[i, j]:g}"
        )
    count, panels = middle.shape
    labels = named("methods", methods, count)
    titles = named("quantities", quantities or [""] * panels, panels)
    singles = _runs(runs, count, panels)
    lines = None if baseline is None else np.atleast_1d(np.asarray(baseline, dtype=np.float64))
    if lines is not None and lines.shape != (panels,):
        raise ValueError(f"baseline: expected shape ({panels},), got {lines.shape}")

    figure = new_figure(
        width_of(labels) + 0.3 + 1.9 * panels, 0.24 * count + 0.55 + 0.2 * (lines is not None)
    )
    drawn: list[Axes] = list(figure.subplots(1, panels, sharey=True, squeeze=False)[0])
    rows = np.arange(count)
    for j, axes in enumerate(drawn):
        thin_ticks(axes)
        axes.grid(axis="y", color="#E5E5E5", linewidth=0.5)
        axes.set_axisbelow(True)
        for i, values in enumerate(singles):
            axes.scatter(
                values[:, j], np.full(len(values), i), s=9, c=QUIET, alpha=0.5, linewidths=0
            )
        reach = np.stack([middle[:, j] - low[:, j], high[:, j] - middle[:, j]])
        axes.errorbar(
            middle[:, j], rows, xerr=reach, fmt="o", color=DATA, markersize=4, elinewidth=1.3,
            capsize=2, zorder=3,
        )  # fmt: skip
        if lines is not None:
            axes.axvline(lines[j], color="#D55E00", linewidth=0.9, linestyle="--", label="baseline")
        axes.set_xlabel(titles[j])
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(round_ticks(4))
        axes.tick_params(axis="y", length=0)
    drawn[0].set_yticks(rows, labels)
    drawn[0].set_ylim(count - 0.5, -0.5)
    if lines is not None:
        figure.legend(handles=drawn[0].get_lines()[-1:], loc="outside upper right")
    return figure


def _estimates(name: str, values: ArrayLike, like: Estimates | None) -> Estimates:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"{name}: expected shape (methods,) or (methods, quantities), got {array.shape}"
        )
    if like is not None and array.shape != like.shape:
        raise ValueError(f"{name}: expected the estimates' shape {like.shape}, got {array.shape}")
    return array


def _runs(runs: Sequence[ArrayLike] | None, methods: int, quantities: int) -> list[Estimates]:
    if runs is None:
        return []
    arrays = [np.asarray(values, dtype=np.float64) for values in runs]
    arrays = [array[:, None] if array.ndim == 1 else array for array in arrays]
    if len(arrays) != methods:
        raise ValueError(f"runs: expected one array for each of {methods} methods, got {len(runs)}")
    for i, array in enumerate(arrays):
        if array.ndim != 2 or array.shape[1] != quantities:
            raise ValueError(f"runs[{i}]: expected shape (runs, {quantities}), got {array.shape}")
    return arrays
