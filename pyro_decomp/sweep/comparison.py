"""Runs compared: means over seeds, a row a combination of arguments."""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from pyro_decomp import arguments
from pyro_decomp.errors import DataError, RunError
from pyro_decomp.sweep.combinations import Combination, Comparison, find
from pyro_decomp.sweep.intervals import mean_interval
from pyro_decomp.sweep.naming import value_text
from pyro_decomp.sweep.rows import Row, rows_of

FILE = "file"
FIRST = ("elbo", "log_likelihood", "kl")
NOT_COMPARED = ("objective",)  # which weighs its terms otherwise in every combination
DETAILS = (".low", ".high", "_standard_error", "_data", "_samples")


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
    """Arguments with more than one value, those first that change least from row to row."""
    names = dict.fromkeys([FILE, *(name for row in rows for name in row.arguments)])
    values = {name: [value_text(_argument(row, name)) for row in rows] for name in names}
    changes = {name: sum(a != b for a, b in pairwise(values[name])) for name in names}
    return sorted((name for name in names if changes[name]), key=changes.__getitem__)


def _quantities(rows: Sequence[Row]) -> tuple[str, ...]:
    """All that some run has, the terms before what was measured."""
    names = dict.fromkeys(name for row in rows for name, v in row.terms.items() if v is not None)
    names |= dict.fromkeys(name for row in rows for name, v in row.metrics.items() if v is not None)
    return tuple([name for name in FIRST if name in names] + [n for n in names if n not in FIRST])


def _default_quantities(available: Sequence[str]) -> list[str]:
    """Terms that were not measured on all training data too, and what was."""
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
