"""The terms of an objective over the steps of a run."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from numpy.typing import ArrayLike

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError
from pyro_decomp.plots.style import (
    DATA,
    INK,
    evenly_spaced,
    new_figure,
    round_ticks,
    styled,
    thin_ticks,
)

Row = Float[np.ndarray, " n"]
Curve = tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]
COLUMNS = 3
FEW = 50
RESOLUTION = 1000
MEDIANS = 250  # along a panel of some 300 pixels


@styled
def terms_over_steps(
    history: Mapping[str, ArrayLike],
    step: str = "step",
    units: Mapping[str, str] | None = None,
) -> Figure:
    """One small panel for each column of a training history.

    Columns that never change (weights without a schedule), columns without a finite number and
    ``epoch`` are left out; if all would be, the constant ones stay. Fifty values or more are a
    pale line under their running median over a twentieth of the run, or under the column's means
    over epochs, where the history has them (``epoch_elbo`` beside ``elbo``). Held-out values
    (``test_elbo``) are a dashed line in the same panel. The vertical axis covers
    what follows the first tenth of the run; values far outside it are cut off, and the farthest
    is then written in the panel.

    Args:
        history: Columns of equal length [n], n >= 1.
        step: The column of the horizontal axis.
        units: The unit of a column where it is not nats (per datum); "" for none.

    Returns:
        A figure with a panel for each column, three side by side.

    Raises:
        ArgumentError: If a column is not numeric, or the columns are empty or differ in length.
    """
    arguments.annotated(terms_over_steps, locals())
    rows = {name: _column(name, values) for name, values in history.items()}
    if step not in rows:
        raise ArgumentError(f"history: expected a column {step!r}, got {sorted(rows)}")
    steps = rows.pop(step)
    for name, values in rows.items():
        if len(values) != len(steps) or not len(values):
            raise ArgumentError(
                f"history[{name!r}]: expected one number for each of at least one step, "
                f"got {len(values)} for {len(steps)} steps"
            )
    finite = {k: v for k, v in rows.items() if k != "epoch" and np.isfinite(v).any()}
    beside = {f"{kind}_{name}" for name in finite for kind in ("epoch", "test")}
    own = {k: v for k, v in finite.items() if k not in beside}
    terms = {k: v for k, v in own.items() if np.ptp(v[np.isfinite(v)]) > 0} or own
    if not terms:
        raise ArgumentError(f"history: expected a column of finite numbers, got {sorted(rows)}")

    columns = min(COLUMNS, len(terms))
    lines = -(-len(terms) // columns)
    figure = new_figure(2.3 * columns, 1.55 * lines + 0.2)
    for i, (name, values) in enumerate(terms.items()):
        axes = figure.add_subplot(lines, columns, i + 1)
        thin_ticks(axes)
        means, held_out = finite.get(f"epoch_{name}"), finite.get(f"test_{name}")
        _draw(axes, steps, values, means, held_out)
        if held_out is not None and not any(each.get_legend() for each in figure.axes):
            axes.legend(fontsize=6.5, frameon=False)
        unit = (units or {}).get(name, "nats")
        axes.set_title(name.replace("_", " ") + (f" ({unit})" if unit else ""), loc="left")
        axes.tick_params(labelbottom=i + columns >= len(terms))
        if i + columns >= len(terms):
            axes.set_xlabel(step)
    return figure


def _column(name: str, values: ArrayLike) -> Row:
    try:
        row = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"history[{name!r}]: expected numbers, got {values!r:.60}") from None
    if row.ndim != 1:
        raise ArgumentError(f"history[{name!r}]: expected shape (n,), got {row.shape}")
    return row


def _draw(
    axes: Axes, steps: Row, values: Row, means: Row | None = None, held_out: Row | None = None
) -> None:
    if np.isfinite(values).sum() < len(values) / 2:  # lines would break at every gap
        steps, values = _known(steps, values)
    if len(values) < FEW:
        axes.plot(steps, values, color=DATA, linewidth=1, marker=".", markersize=4)
    else:
        smooth = _running_median(steps, values) if means is None else _known(steps, means)
        axes.plot(*_envelope(steps, values), color=DATA, linewidth=0.5, alpha=0.35)
        axes.plot(*smooth, color=DATA, linewidth=1.2)
    if held_out is not None:
        x, y = _known(steps, held_out)
        axes.plot(x, y, color=INK, linewidth=1, linestyle="--", label="held-out data")
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(round_ticks(6, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if steps.min() == steps.max():
        axes.set_xticks(steps[:1])
    axes.yaxis.set_major_locator(round_ticks(5))
    shown = np.isfinite(values)
    low, high = _limits(values[shown])
    if held_out is not None:
        low, high = min(low, np.nanmin(held_out)), max(high, np.nanmax(held_out))
    if low < high:
        axes.set_ylim(low, high)
        _note(axes, steps, values, shown & (values > high), top=True)
        _note(axes, steps, values, shown & (values < low), top=False)


def _known(steps: Row, values: Row) -> Curve:
    """Where there are values, and which."""
    shown = np.isfinite(values)
    return steps[shown], values[shown]


def _envelope(steps: Row, values: Row) -> Curve:
    """All values, or of very many the least and the greatest in each of 1000 stretches of them."""
    if len(values) <= 2 * RESOLUTION:
        return steps, values
    first = evenly_spaced(len(values), RESOLUTION)
    ends = np.fmin.reduceat(values, first), np.fmax.reduceat(values, first)
    return np.repeat(steps[first], 2), np.stack(ends, axis=1).ravel()


def _running_median(steps: Row, values: Row) -> Curve:
    """The median of the finite values within a fortieth of the run, at up to 250 steps."""
    reach = len(values) // 40
    centres = evenly_spaced(len(values), MEDIANS)
    nearby = (values[max(i - reach, 0) : i + reach + 1] for i in centres)
    finite = (window[np.isfinite(window)] for window in nearby)
    return steps[centres], np.array([np.median(w) if len(w) else np.nan for w in finite])


def _limits(values: Row) -> tuple[float, float]:
    """The range of all values, cut on a side where it goes far beyond the settled ones."""
    settled = values[len(values) // 10 :] if len(values) >= FEW else values
    low, high = np.quantile(settled, [0.01, 0.99]) if len(values) >= FEW else (-np.inf, np.inf)
    spread = high - low
    lowest = values.min() if values.min() >= low - 2 * spread else low - 0.3 * spread
    highest = values.max() if values.max() <= high + 2 * spread else high + 0.3 * spread
    margin = 0.06 * (highest - lowest)
    return float(lowest - margin), float(highest + margin)


def _note(axes: Axes, steps: Row, values: Row, cut: Bool[np.ndarray, " n"], *, top: bool) -> None:
    """Write the farthest of the values cut off at one edge, beside where it would be."""
    if not cut.any():
        return
    where = np.flatnonzero(cut)
    farthest = where[(np.argmax if top else np.argmin)(values[cut])]
    left = farthest <= len(steps) / 2
    kept = np.flatnonzero(~cut)
    beside = kept[kept > farthest][:1] if left else kept[kept < farthest][-1:]
    value = f"{values[farthest]:.4g}".replace("-", "\N{MINUS SIGN}")
    axes.annotate(
        f"{'↑' if top else '↓'} {value} at {steps[farthest]:g}",
        (steps[beside[0] if len(beside) else farthest], float(top)),
        xycoords=("data", "axes fraction"),
        xytext=(4 if left else -4, -1 if top else 1),
        textcoords="offset points",
        ha="left" if left else "right",
        va="top" if top else "bottom",
        fontsize=6.5,
        color=INK,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5},
    )
