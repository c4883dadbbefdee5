"""Combinations as curves: along one argument, a curve for each combination of the others."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyro_decomp.sweep.combinations import Combination, Comparison
from pyro_decomp.sweep.naming import value_text


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
    """All combinations as curves along an argument; each by itself along None."""
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
