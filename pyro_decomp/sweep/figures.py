"""Curves of combinations as figures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from pyro_decomp import plots
from pyro_decomp.sweep.combinations import Combination
from pyro_decomp.sweep.curves import Curve
from pyro_decomp.sweep.intervals import mean_interval
from pyro_decomp.sweep.labels import label
from pyro_decomp.sweep.naming import value_text

MOST_CURVES, MOST_GROUPS = 10, 40


class NothingToDrawError(Exception):
    """Why a figure cannot be drawn, in a sentence."""


@dataclass(frozen=True)
class Curves:
    """Combinations along an argument.

    Args:
        argument: The argument; None where each combination is a curve by itself.
        curves: The curves.
    """

    argument: str | None
    curves: Sequence[Curve]

    def value(self, one: Combination) -> float:
        """Of the argument in a combination; 0 without an argument."""
        return 0.0 if self.argument is None else float(one.arguments[self.argument])

    @property
    def values(self) -> list[float]:
        """All values of the argument, in order."""
        return sorted({self.value(one) for curve in self.curves for one in curve.points})

    def text(self, one: Combination) -> str:
        """The argument's value in words."""
        return "" if self.argument is None else value_text(one.arguments[self.argument])


def trade_off(drawn: Curves, metric: str, against: str) -> Figure:
    """The mean of one quantity over the mean of another, a curve with its 95 % band each."""
    _check_count("curves", len(drawn.curves), MOST_CURVES)
    lines = []
    for curve in drawn.curves:
        known = [one for one in curve.points if one.pairs(against, metric)]
        x = [mean_interval([pair[0] for pair in one.pairs(against, metric)]) for one in known]
        y = [mean_interval([pair[1] for pair in one.pairs(against, metric)]) for one in known]
        low = [mean.low for mean in y if mean.low is not None]
        high = [mean.high for mean in y if mean.high is not None]
        has_band = len(low) == len(known) > 1
        if known:
            lines.append(
                plots.TradeOff(
                    curve.name,
                    x=[mean.mean for mean in x],
                    y=[mean.mean for mean in y],
                    lower=low if has_band else None,
                    upper=high if has_band else None,
                    weights=None if drawn.argument is None else [drawn.text(one) for one in known],
                )
            )
    if not lines:
        raise NothingToDrawError("no run that finished has both quantities")
    at_points = None if drawn.argument is None else f"at points: {drawn.argument}"
    return plots.trade_offs(lines, label(against), label(metric), weight_label=at_points)


def boxes(drawn: Curves, metric: str) -> Figure:
    """A quantity of the runs: a box a combination, side by side at each value of the argument."""
    known = [curve for curve in drawn.curves if _all(curve.points, metric)]
    if not known:
        raise NothingToDrawError("no run that finished has the quantity")
    if drawn.argument is None:
        names = [curve.name for curve in known]
        methods = [plots.Boxes("", [_all(curve.points, metric) for curve in known])]
    else:
        names = [value_text(value) for value in drawn.values]
        methods = [
            plots.Boxes(
                curve.name,
                [
                    _all([one for one in curve.points if drawn.value(one) == value], metric)
                    for value in drawn.values
                ],
            )
            for curve in known
        ]
    _check_count("curves", len(methods), MOST_CURVES)
    _check_count("values", len(names), MOST_GROUPS)
    return plots.box_plots(names, methods, drawn.argument or "", label(metric))


def scatter(drawn: Curves, metric: str, against: str) -> Figure:
    """One quantity of the runs over another; larger points have a higher value of the argument."""
    _check_count("curves", len(drawn.curves), MOST_CURVES)
    methods = []
    for curve in drawn.curves:
        points = [
            (*pair, drawn.values.index(drawn.value(one)))
            for one in curve.points
            for pair in one.pairs(against, metric)
        ]
        if points:
            x, y, ranks = np.array(points).T
            sizes = None if drawn.argument is None else ranks
            methods.append(plots.Points(curve.name, x, y, sizes))
    if not methods:
        raise NothingToDrawError("no run that finished has both quantities")
    weight = None if drawn.argument is None else f"larger: higher {drawn.argument}"
    return plots.scatter(methods, label(against), label(metric), weight_label=weight)


def _check_count(what: str, count: int, most: int) -> None:
    if count > most:
        raise NothingToDrawError(
            f"expected at most {most} {what}, got {count}: compare by fewer arguments"
        )


def _all(combinations: Sequence[Combination], name: str) -> list[float]:
    return [value for one in combinations for value in one.values(name)]
