"""The pictures of a comparison: combinations as curves, and their figures in files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from pyro_decomp import plots
from pyro_decomp.errors import DataError, tidied
from pyro_decomp.sweep.comparison import Combination, Comparison
from pyro_decomp.sweep.grid import value_text
from pyro_decomp.sweep.intervals import mean_interval

MIG = ("mig", "density_mig")
METRICS = (*MIG, "divergence", "kl")  # the first that there is is drawn
COSTS = ("elbo", "log_likelihood")
MOST_CURVES, MOST_GROUPS = 10, 40
OF_TERMS = {
    "elbo": "ELBO (nats)",
    "objective": "objective (nats)",
    "log_likelihood": "log likelihood (nats)",
    "kl": "KL(q(z|x) \N{DOUBLE VERTICAL LINE} p(z)) (nats)",
    "mutual_information": "I(x; z) (nats)",
    "index_code_information": "I(n; z) (nats)",
    "total_correlation": "TC (nats)",
    "dimensionwise_kl": "dimension-wise KL (nats)",
    "marginal_kl": "KL(q(z) \N{DOUBLE VERTICAL LINE} p(z)) (nats)",
}
OF_MEASURES = {
    **OF_TERMS,
    "divergence": "KL(p(z) \N{DOUBLE VERTICAL LINE} q(z)) (nats)",
    "importance_weighted_log_px": "log p(x) (nats)",
    "effective_sharing": "data sharing a code",
    "mig": "MIG",
    "density_mig": "MIG",
    "factor_vae_score": "FactorVAE score",
    "beta_vae_score": "\N{GREEK SMALL LETTER BETA}-VAE score",
    "sap": "SAP",
    "irs": "IRS",
    "nmi": "NMI",
    "ari": "ARI",
    "knn_accuracy": "kNN accuracy",
    "dci_lasso": "DCI (lasso)",
    "dci_trees": "DCI (trees)",
}


@dataclass(frozen=True)
class Drawn:
    """The pictures that were drawn, and why others were not.

    Attributes:
        paths: The pictures.
        left_out: Of each picture that was not drawn, why.
    """

    paths: Sequence[Path]
    left_out: Mapping[str, str]


def draw(
    comparison: Comparison, folder: Path, *, metric: str | None = None, against: str | None = None
) -> Drawn:
    """Draw what the runs allow: ``trade_off.png``, ``boxes.png`` and ``scatter.png``.

    ``trade_off``
        The means of ``metric`` over those of ``against`` with 95 % bands, along the argument with
        most values, a curve for each combination of the others.
    ``boxes``
        The runs' ``metric``, a box a combination.
    ``scatter``
        The runs' MIG over their total correlation where they have both and none is asked for, else
        ``metric`` over ``against``; larger points have a higher value of the argument along the
        curves.

    Args:
        comparison: What to draw.
        folder: Where to; made if it is not there.
        metric: By default the first that all combinations have of the MIG, KL(p(z) || q(z)) and
            the KL.
        against: By default the ELBO, else the log likelihood.

    Returns:
        The pictures, and the reason of each that was left out.

    Raises:
        DataError: There is no such quantity.
    """
    y, x = _chosen(comparison, metric, METRICS), _chosen(comparison, against, COSTS)
    total_correlation = _chosen(comparison, None, ("total_correlation",))
    mig = _chosen(comparison, None, MIG)
    of_scatter = (y, x)
    if metric is None and against is None and mig is not None and total_correlation is not None:
        of_scatter = (mig, total_correlation)
    argument = along(comparison)
    drawn = Curves(argument, curves(comparison, argument))
    makers: dict[str, Callable[[], Figure]] = {
        "trade_off.png": lambda: trade_off(drawn, *_two(y, x)),
        "boxes.png": lambda: boxes(drawn, *_one(y)),
        "scatter.png": lambda: scatter(drawn, *_two(*of_scatter)),
    }
    paths, left_out = [], {}
    with tidied(folder):
        for name, make in makers.items():
            try:
                figure = make()
            except NothingToDrawError as reason:
                left_out[name] = str(reason)
                continue
            folder.mkdir(parents=True, exist_ok=True)
            plots.save(figure, folder / name)
            paths.append(folder / name)
    return Drawn(paths, left_out)


def _chosen(comparison: Comparison, name: str | None, usual: Sequence[str]) -> str | None:
    """The quantity to draw: that asked for, else the first of the usual ones that there is."""
    if name is None:
        candidates = [full for each in usual for full in (f"train.{each}", each)]
        known = [full for full in candidates if full in comparison.available]
        finished = [one for one in comparison.combinations if one.num_finished]
        of_all = [full for full in known if all(one.values(full) for one in finished)]
        return next(iter([*of_all, *known]), None)
    found = comparison.find(name)
    if found is None:
        there = ", ".join(comparison.available) or "none"
        raise DataError(f"expected a quantity among {there}, got {name!r}")
    return found


def _one(metric: str | None) -> tuple[str]:
    if metric is None:
        raise NothingToDrawError("there is no quantity to draw")
    return (metric,)


def _two(metric: str | None, against: str | None) -> tuple[str, str]:
    if metric is None or against is None or metric == against:
        raise NothingToDrawError("there are not two quantities to draw")
    return metric, against


@dataclass(frozen=True)
class Curve:
    """Combinations that differ in one argument.

    Attributes:
        name: Their other arguments.
        points: The combinations, in the order of the argument along the curve.
    """

    name: str
    points: Sequence[Combination]


def along(comparison: Comparison) -> str | None:
    """The argument along the curves: of those that are numbers, the one with most values.

    Of several the first compared by; None where no argument is a number.
    """
    best, most = None, 1
    for name in comparison.by:
        values = [one.arguments[name] for one in comparison.combinations]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            count = len(set(values))
            if count > most:
                best, most = name, count
    return best


def curves(comparison: Comparison, argument: str | None) -> list[Curve]:
    """All combinations as curves along an argument; where it is None, each is a curve by itself."""
    found: dict[str, list[Combination]] = {}
    for one in comparison.combinations:
        others = {name: value for name, value in one.arguments.items() if name != argument}
        name = ", ".join(f"{name} = {value_text(value)}" for name, value in others.items())
        found.setdefault(name or one.rows[0].file, []).append(one)
    return [
        Curve(name, points if argument is None else _in_order(points, argument))
        for name, points in found.items()
    ]


def _in_order(points: Sequence[Combination], argument: str) -> list[Combination]:
    return sorted(points, key=lambda one: float(one.arguments[argument]))


class NothingToDrawError(Exception):
    """A figure cannot be drawn; the message says why in a sentence."""


@dataclass(frozen=True)
class Curves:
    """All combinations of a comparison as curves along one argument.

    Args:
        argument: The argument; None where each combination is a curve by itself.
        curves: The curves.
    """

    argument: str | None
    curves: Sequence[Curve]

    def value(self, one: Combination) -> float:
        """The argument's value in a combination; 0 without an argument."""
        return 0.0 if self.argument is None else float(one.arguments[self.argument])

    @property
    def values(self) -> list[float]:
        """All values of the argument, in order."""
        return sorted({self.value(one) for curve in self.curves for one in curve.points})

    def text(self, one: Combination) -> str:
        """The argument's value in a combination, in words."""
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


def label(quantity: str) -> str:
    """Name a quantity on an axis, with its unit where that is known.

    >>> label("train.mig"), label("test.elbo"), label("elbo"), label("divergence")
    ('MIG', 'ELBO (nats), test data', 'ELBO (nats), last step', 'divergence, last step')
    """
    part, dot, name = quantity.partition(".")
    if not dot:
        return f"{OF_TERMS.get(quantity, quantity.replace('_', ' '))}, last step"
    words = OF_MEASURES.get(name, name.replace("_", " "))
    return f"{words}, test data" if part == "test" else words
