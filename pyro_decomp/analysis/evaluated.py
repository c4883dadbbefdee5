"""What was measured on a run, as an object: by set and name, as rows, as a line and as a card."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from importlib import import_module
from typing import Any

from pyro_decomp.analysis.quantities import HALF_WIDTH, STANDARD_ERROR
from pyro_decomp.descriptions import Fact, Table, card, shortened
from pyro_decomp.errors import DataError

NATS = "nats"
UNITS = {  # of numbers that are not in nats
    "effective_sharing": "data",
    "importance_weighted_data": "data",
    "importance_weighted_samples": "draws",
}
UNITS_OF_SCORES = {
    "active_units": "dimensions",
    "gaussian_total_correlation": NATS,
    "wasserstein_dependence": "squared unit of the codes",
}


@dataclass(frozen=True)
class Quantity:
    """One number that was measured on one set of data, or why it was not.

    Attributes:
        set: "train" or "test".
        name: Of the number or the score.
        value: None where it was left out. Of a score it is the value corrected for its bias, about
            which the interval is drawn, where there is one.
        low: The lower end of the 95 % confidence interval over data or samples; None without one.
        high: The upper end.
        unit: "nats" and so on; empty where it has none.
        reason: Why it was left out; empty where it was not.
    """

    set: str
    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    reason: str = ""

    @property
    def text(self) -> str:
        """The value with its interval; ``-`` where it was left out."""
        if self.value is None:
            return "-"
        if self.low is None or self.high is None:
            return f"{self.value:.4g}"
        half = (self.high - self.low) / 2
        if abs(self.low + half - self.value) <= 1e-9 * max(abs(self.value), half):
            return f"{self.value:.4g} \N{PLUS-MINUS SIGN} {half:.2g}"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


class Evaluation(dict[str, dict[str, Any]]):
    """What :func:`pyro_decomp.evaluate` measured: a dictionary that shows itself as a table.

    ``evaluation["train"]["elbo"]`` is a number, and ``evaluation["test"]["scores"]["mig"]`` a score
    of the codes in JSON's types; :meth:`quantities` and :meth:`to_frame` have all of them alike.

    >>> found = Evaluation(train={"elbo": -2.0, "elbo_standard_error": 0.1, "left_out": {}})
    >>> found
    Evaluation(train elbo -2 ± 0.2)
    >>> found.quantities()[0].unit
    'nats'
    """

    def quantities(self) -> list[Quantity]:
        """Every number and score, and then what was left out, of one set after the other.

        Returns:
            One for each name and set.
        """
        return [each for name, found in self.items() for each in _of_set(name, found)]

    def to_frame(self) -> Any:
        """All quantities as a table, a row each, for pandas.

        Returns:
            A ``pandas.DataFrame`` with the columns ``set``, ``name``, ``value``, ``low``, ``high``
            (of the 95 % confidence interval), ``unit`` and ``reason``: of what was left out there
            is no value but the reason. See :class:`Quantity`.

        Raises:
            DataError: pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ModuleNotFoundError as error:
            raise DataError(
                "pandas: expected it for a data frame, got no such package; install it with "
                "pip install pandas, or take quantities(), which does without"
            ) from error
        names = [field.name for field in fields(Quantity)]
        frame = pandas.DataFrame(map(astuple, self.quantities()), columns=names)
        return frame.astype(dict.fromkeys(("value", "low", "high"), float))

    def of_seeds(self) -> dict[int, list[str]]:
        """The names of what was measured with each seed; of several where files were merged.

        Returns:
            Each seed to names.
        """
        found: dict[int, list[str]] = {}
        for part in self.values():
            for name, seed in part.get("seeds", {}).items():
                if name not in found.setdefault(seed, []):
                    found[seed].append(name)
        return found

    def __repr__(self) -> str:
        quantities = self.quantities()
        known = [each for each in quantities if each.value is not None]
        first = [each for each in known if each.name == "elbo"] or known[:1]
        said = [f"{each.set} {each.name} {each.text}" for each in first]
        others, missing = len(known) - len(first), len(quantities) - len(known)
        said += [f"{others} other numbers"] if others else []
        said += [f"{missing} left out"] if missing else []
        return shortened(f"{type(self).__name__}({', '.join(said)})")

    def _repr_html_(self) -> str:
        from pyro_decomp.analysis.components import described  # noqa: PLC0415 (torch takes seconds)

        facts: dict[str, Fact] = {
            "checkpoint": lambda: f"step {next(iter(self.values()))['checkpoint']['step']}",
            "components": lambda: described(self["train"]["components"]),
        }
        seeds = self.of_seeds()
        if len(seeds) > 1:
            facts |= {f"of seed {seed}": ", ".join(names) for seed, names in seeds.items()}
        findings = [why for found in self.values() for why in found.get("findings", {}).values()]
        for why, names in self._reasons().items():
            facts[f"left out: {', '.join(names)}"] = why
        return card("Evaluation", facts, tables=[self.table()], warnings=findings)

    def table(self) -> Table:
        """Internal. What was measured, a row a name and a column a set, as a card takes it."""
        cells: dict[str, dict[str, str]] = {}
        for each in self.quantities():
            if each.value is not None:
                name = f"{each.name} ({each.unit})" if each.unit else each.name
                cells.setdefault(name, {})[each.set] = each.text
        return ["", *self], [[n, *(row.get(each, "") for each in self)] for n, row in cells.items()]

    def _reasons(self) -> dict[str, list[str]]:
        """The names that were left out, by the reason."""
        found: dict[str, list[str]] = {}
        for each in self.quantities():
            if each.reason and each.name not in found.setdefault(each.reason, []):
                found[each.reason].append(each.name)
        return found


def _of_set(name: str, found: Mapping[str, Any]) -> Iterator[Quantity]:
    numbers = {n: v for n, v in found.items() if isinstance(v, int | float) and type(v) is not bool}
    for each, value in numbers.items():
        if each.endswith(STANDARD_ERROR):
            continue
        half = HALF_WIDTH * numbers.get(f"{each}{STANDARD_ERROR}", math.nan)
        low, high = (None, None) if math.isnan(half) else (value - half, value + half)
        yield Quantity(name, each, value, low, high, UNITS.get(each, NATS))
    for each, score in found.get("scores", {}).items():
        corrected = score.get("corrected")
        value = score["value"] if corrected is None else corrected
        low, high = score.get("interval") or (None, None)
        yield Quantity(name, each, value, low, high, UNITS_OF_SCORES.get(each, ""))
    for each, reason in found.get("left_out", {}).items():
        yield Quantity(name, each, None, reason=reason)
