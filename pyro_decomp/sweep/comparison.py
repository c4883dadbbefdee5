"""Runs compared: means over seeds, a row a combination of arguments."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pyro_decomp import arguments
from pyro_decomp.descriptions import shortened
from pyro_decomp.errors import DataError, RunError
from pyro_decomp.sweep.grid import value_text
from pyro_decomp.sweep.intervals import MeanInterval, mean_interval
from pyro_decomp.sweep.table import UNFINISHED, Row, rows_of
from pyro_decomp.training.run_files.json_files import marked

FILE = "file"
FIRST = ("elbo", "log_likelihood", "kl")
NOT_COMPARED = ("objective",)  # which weighs its terms otherwise in every combination
DETAILS = (".low", ".high", "_standard_error", "_data", "_samples")
PARTS = ("train", "test")


@dataclass(frozen=True, repr=False)
class Combination:
    """Runs with the same arguments.

    Attributes:
        arguments: Those compared by.
        rows: Its runs, whatever became of them.
        means: Of each quantity, over the runs that finished and have it.
    """

    arguments: Mapping[str, Any]
    rows: Sequence[Row]
    means: Mapping[str, MeanInterval]

    def __repr__(self) -> str:
        return shortened(f"Combination({self.title}: {self.num_finished} of {len(self.rows)} runs)")

    @property
    def num_finished(self) -> int:
        """How many of the runs finished."""
        return sum(row.status == "finished" for row in self.rows)

    @property
    def num_unfinished(self) -> int:
        """How many of the runs have not ended."""
        return sum(row.status == UNFINISHED for row in self.rows)

    @property
    def num_failed(self) -> int:
        """How many of the runs ended without finishing."""
        return len(self.rows) - self.num_finished - self.num_unfinished

    def values(self, name: str) -> list[float]:
        """The values of a quantity, of each run that finished and has it."""
        return [value for row in self.rows if (value := row.value(name)) is not None]

    def pairs(self, first: str, second: str) -> list[tuple[float, float]]:
        """Pairs of two quantities, of each run that finished and has both."""
        both = [(row.value(first), row.value(second)) for row in self.rows]
        return [(x, y) for x, y in both if x is not None and y is not None]

    @property
    def title(self) -> str:
        """The combination's arguments in words, as ``alpha = 1, beta = 0.5``."""
        return ", ".join(f"{name} = {value_text(value)}" for name, value in self.arguments.items())


@dataclass(frozen=True, repr=False)
class Comparison:
    """Combinations side by side.

    Attributes:
        by: The arguments compared by.
        quantities: What is compared.
        available: All that could be.
        combinations: In the order in which they first appear.
        averaged: Arguments other than the seed that vary inside a combination.
    """

    by: tuple[str, ...]
    quantities: tuple[str, ...]
    available: tuple[str, ...]
    combinations: Sequence[Combination]
    averaged: tuple[str, ...]

    def __repr__(self) -> str:
        by, of = ", ".join(self.by) or "nothing", ", ".join(self.quantities)
        return shortened(f"Comparison({len(self.combinations)} by {by}: {of})")

    def find(self, name: str) -> str | None:
        """The full name of a quantity, as ``train.mig`` of ``mig``; None if there is none."""
        return find(name, self.available)

    def to_json(self) -> list[dict[str, Any]]:
        """The comparison in the types of JSON.

        Returns:
            A dictionary for each combination: arguments, counts of runs, and means.
        """
        return [
            {
                "arguments": marked(dict(one.arguments)),
                "finished": one.num_finished,
                "failed": one.num_failed,
                "unfinished": one.num_unfinished,
                "means": {
                    name: {
                        "mean": mean.mean if mean.size else None,
                        "low": mean.low,
                        "high": mean.high,
                        "runs": mean.size,
                    }
                    for name, mean in one.means.items()
                },
            }
            for one in self.combinations
        ]


def find(name: str, available: Sequence[str]) -> str | None:
    """The full name of a quantity: its own, or that under which training or test data have it."""
    candidates = (name, *(f"{part}.{name}" for part in PARTS))
    return next((candidate for candidate in candidates if candidate in available), None)


def compare(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    by: Sequence[str] | None = None,
    quantities: Sequence[str] | None = None,
) -> Comparison:
    """Compare runs by their arguments: means over seeds with 95 % intervals by Student's t.

    Only runs that finished are in the means; the others are counted.

    Args:
        paths: Sweeps, which may be running, run folders, or folders of these.
        by: Arguments to compare by, and ``file`` for the experiment file; by default all that vary.
            What varies beside is averaged over, as seeds are.
        quantities: What to compare: terms of the last step such as ``elbo``, and what was measured,
            as ``train.mig``, or ``mig`` for short. By default all that was measured on training
            data, and every term but the objective that was not.

    Returns:
        The combinations of arguments side by side.

    Raises:
        RunError: A path holds no run, or one cannot be read.
        DataError: No run has an argument of that name, or no run that finished such a quantity.
    """
    arguments.annotated(compare, locals())
    places = [paths] if isinstance(paths, str | os.PathLike) else paths
    if not places:
        raise RunError("paths: expected at least one run or sweep, got none")
    rows = [row for place in places for row in rows_of(Path(place))]
    varying = _varying(rows)
    known = list(dict.fromkeys([FILE, *(name for row in rows for name in row.arguments)]))
    for name in by or ():
        if name not in known:
            raise DataError(f"by: expected arguments among {', '.join(known)}, got {name!r}")
    chosen = tuple(varying if by is None else dict.fromkeys(by))
    available = _quantities(rows)
    compared = tuple(
        _default_quantities(available)
        if quantities is None
        else (_checked(name, available) for name in quantities)
    )
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = tuple(value_text(_argument(row, name)) for name in chosen)
        groups.setdefault(key, []).append(row)
    combinations = [_combination(group, chosen, compared) for group in groups.values()]
    averaged = tuple(name for name in varying if name not in chosen)
    return Comparison(chosen, compared, available, combinations, averaged)


def _combination(rows: Sequence[Row], by: Sequence[str], quantities: Sequence[str]) -> Combination:
    arguments = {name: _argument(rows[0], name) for name in by}
    bare = Combination(arguments, rows, {})
    means = {name: mean_interval(bare.values(name)) for name in quantities}
    return Combination(arguments, rows, means)


def _argument(row: Row, name: str) -> Any:
    return row.arguments.get(name) if name != FILE or name in row.arguments else row.file


def _varying(rows: Sequence[Row]) -> list[str]:
    """The arguments with more than one value, those first that change least from row to row."""
    names = dict.fromkeys([FILE, *(name for row in rows for name in row.arguments)])
    values = {name: [value_text(_argument(row, name)) for row in rows] for name in names}
    changes = {name: sum(a != b for a, b in pairwise(values[name])) for name in names}
    return sorted((name for name in names if changes[name]), key=changes.__getitem__)


def _quantities(rows: Sequence[Row]) -> tuple[str, ...]:
    """The quantities that some run has, the terms before what was measured."""
    names = dict.fromkeys(name for row in rows for name, v in row.terms.items() if v is not None)
    names |= dict.fromkeys(name for row in rows for name, v in row.metrics.items() if v is not None)
    return tuple([name for name in FIRST if name in names] + [n for n in names if n not in FIRST])


def _default_quantities(available: Sequence[str]) -> list[str]:
    """The quantities compared by default: what was measured on training data, and other terms."""
    return [
        name
        for name in available
        if name not in NOT_COMPARED
        and not name.endswith(DETAILS)
        and not name.startswith("test.")
        and f"train.{name}" not in available
    ]


def _checked(name: str, available: Sequence[str]) -> str:
    found = find(name, available)
    if found is None:
        raise DataError(
            f"quantities: expected names among {', '.join(available) or 'none'}, got {name!r}"
        )
    return found
