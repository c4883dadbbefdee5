"""The table of a sweep: a row a run, a column whatever is known of it, read without torch."""

import ast
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pyro_decomp import arguments
from pyro_decomp.errors import RunError
from pyro_decomp.sweep.folder import NAME, described_grid, read_description
from pyro_decomp.sweep.grid import value_text
from pyro_decomp.sweep.journal import read_journal
from pyro_decomp.training.run_files.checked_files import AGAIN, facts_of, read_checked
from pyro_decomp.training.run_files.history import COUNTED, read_history
from pyro_decomp.training.run_files.json_files import plain
from pyro_decomp.training.run_files.run_config import read_run_config

UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Row:
    """One run of a sweep, or a run folder by itself.

    Attributes:
        member: Its name.
        file: The name of its experiment file, without ``.py``.
        arguments: Every argument of ``experiment``, given or default, in JSON's types.
        seed: Its seed.
        status: ``finished``, ``not finite``, ``failed`` or ``unfinished``.
        message: What went wrong, in a sentence.
        steps: Steps done; None if it has not ended.
        seconds: Of wall clock that training took; None where that is not known.
        way: How it was trained, ``batched`` with others or a ``single`` run; None if it was not.
        terms: The last row of its history.
        metrics: What was measured on it, as ``train.NAME`` and ``test.NAME``.
    """

    member: str
    file: str
    arguments: Mapping[str, Any]
    seed: int
    status: str
    message: str
    steps: int | None
    seconds: float | None
    way: str | None
    terms: Mapping[str, float | None]
    metrics: Mapping[str, float | None]

    def value(self, quantity: str) -> float | None:
        """The value of a term or of what was measured; None where the run has none."""
        return self.terms.get(quantity, self.metrics.get(quantity))


def rows_of_sweep(folder: Path) -> list[Row]:
    """Rows of a sweep, one for each member in the order of its grid; it may still be running.

    Raises:
        RunError: It is no sweep, or cannot be read.
    """
    description = read_description(folder)
    records = read_journal(folder / "members.jsonl")
    file = Path(description["source_file"]).stem
    rows = []
    for member in described_grid(description).members():
        arguments = {**description["defaults"], **member.arguments}
        record = records.get(member.name)
        rows.append(
            Row(member.name, file, arguments, member.seed, UNFINISHED, "", None, None, None, {}, {})
            if record is None
            else Row(
                member.name, file, arguments, member.seed, record.status, record.message,
                record.steps, record.seconds, record.way, record.terms, record.metrics,
            )
        )  # fmt: skip
    return rows


def row_of_run(folder: Path) -> Row:
    """The row of a run folder; arguments that were not given have their defaults.

    Raises:
        RunError: It is no run, or cannot be read.
    """
    config = read_run_config(folder)
    arguments, seed = config["arguments"], config["seed"]
    terms, step = last_terms(folder)
    path, measured = folder / "metrics.json", {}
    if path.exists():
        try:
            measured = flat(read_checked(path, AGAIN))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path}: expected what was measured, got others ({AGAIN})") from error
    status = "finished" if step >= config["total_steps"] else UNFINISHED
    file = Path(config.get("source_file") or "").stem
    given = {**defaults_in(config.get("source") or ""), **arguments}
    terms = terms if status == "finished" else {}
    return Row(folder.name, file, given, seed, status, "", step, None, None, terms, measured)


def rows_of(path: Path) -> list[Row]:
    """The rows of a sweep, of a run, or of all runs and sweeps below a folder.

    Raises:
        RunError: There is none, or one cannot be read.
    """
    if os.path.lexists(path / NAME):
        return rows_of_sweep(path)
    if os.path.lexists(path / "config.json"):
        return [row_of_run(path)]
    try:
        below = [each for each in sorted(path.iterdir()) if each.is_dir()] if path.is_dir() else []
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    rows = []
    for child in below:
        with suppress(_NothingHereError):
            rows += rows_of(child)
    if not rows:
        raise _NothingHereError(f"{path}: expected a sweep, a run, or a folder of runs, found none")
    return rows


class _NothingHereError(RunError):
    """A folder without any run."""


def last_terms(folder: Path) -> tuple[dict[str, float | None], int]:
    """The terms in the last row of a run's ``history.csv``, and the step of it.

    Raises:
        RunError: There is no history, or it is not one of numbers and of the run's checkpoint.
    """
    checkpoint = folder / "checkpoint.pt"
    known = facts_of(checkpoint) if checkpoint.exists() else None
    history = read_history(folder / "history.csv", known)
    if not history["step"]:
        return {}, 0
    terms = {n: _finite(column[-1]) for n, column in history.items() if n not in COUNTED}
    return terms, int(history["step"][-1])


def flat(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """What `evaluate` measured, as one level of names; of components how many are at fault.

    >>> score = {"value": 0.3, "interval": [0.2, 0.4]}
    >>> flat({"test": {"elbo": -1.5, "scores": {"mig": score}, "left_out": {}}})
    {'test.elbo': -1.5, 'test.mig': 0.3, 'test.mig.low': 0.2, 'test.mig.high': 0.4}
    >>> flat({"train": {"components": {"empty": [4], "merged": [[0, 3], [1, 2]]}}})
    {'train.empty_components': 1.0, 'train.merged_components': 4.0}
    """
    found: dict[str, float | None] = {}
    for part, values in metrics.items():
        for name, value in values.items():
            if isinstance(value, int | float) or value is None:
                found[f"{part}.{name}"] = _finite(value)
        if "components" in values:
            faults = values["components"]
            found[f"{part}.empty_components"] = float(len(faults["empty"]))
            found[f"{part}.merged_components"] = float(sum(map(len, faults["merged"])))
        for name, score in values.get("scores", {}).items():
            found[f"{part}.{name}"] = _finite(score["value"])
            if score["interval"] is not None:
                low, high = score["interval"]
                found[f"{part}.{name}.low"] = _finite(low)
                found[f"{part}.{name}.high"] = _finite(high)
    return found


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def defaults_in(source: str) -> dict[str, Any]:
    """The defaults of ``experiment`` that are written as literals; nothing is executed."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        for node in ast.parse(source).body:
            if isinstance(node, ast.FunctionDef) and node.name == "experiment":
                return dict(_literal_defaults(node.args))
    return {}


def _literal_defaults(arguments: ast.arguments) -> list[tuple[str, Any]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    pairs = list(zip(reversed(positional), reversed(arguments.defaults), strict=False))[::-1]
    pairs += [
        (name, default)
        for name, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    ]
    found = []
    for name, default in pairs:
        with suppress(ValueError):
            found.append((name.arg, plain(ast.literal_eval(default))))
    return found


OF_RUN: dict[str, pa.DataType] = {
    "seed": pa.int64(),
    "status": pa.string(),
    "message": pa.string(),
    "steps": pa.int64(),
    "seconds": pa.float64(),
    "way": pa.string(),
}


def read_table(path: str | os.PathLike[str]) -> pa.Table:
    """The table of a sweep as it stands, also while it is running.

    The columns are ``member``, every argument of ``experiment``, ``seed``, ``status``, ``message``,
    ``steps``, ``seconds``, ``way``, the terms of the last logged step, and what was measured as
    ``train.NAME`` and ``test.NAME``. An argument of one of those names is ``argument.NAME``, a term
    of an argument's name ``last.NAME``. A member that has not ended is ``unfinished`` and its terms
    are null.

    Args:
        path: The folder of the sweep.

    Returns:
        A row a member in the order of the grid; ``read_table(path).to_pandas()`` where pandas is
        installed.

    Raises:
        RunError: There is no sweep, or it cannot be read.
    """
    arguments.annotated(read_table, locals())
    return as_table(rows_of_sweep(Path(path)))


def as_table(rows: Sequence[Row]) -> pa.Table:
    """The table of some rows; see `read_table`."""
    columns = {"member": pa.array([row.member for row in rows], pa.string())}
    for name in dict.fromkeys(name for row in rows for name in row.arguments):
        heading = f"argument.{name}" if name in {"member", *OF_RUN} else name
        columns[heading] = _column([row.arguments.get(name) for row in rows])
    for name, kind in OF_RUN.items():
        columns[name] = pa.array([getattr(row, name) for row in rows], kind)
    for name in dict.fromkeys(name for row in rows for name in row.terms):
        heading = f"last.{name}" if name in columns else name
        columns[heading] = pa.array([row.terms.get(name) for row in rows], pa.float64())
    for name in dict.fromkeys(name for row in rows for name in row.metrics):
        columns[name] = pa.array([row.metrics.get(name) for row in rows], pa.float64())
    return pa.table(columns)


def _column(values: list[Any]) -> pa.Array:
    """A column of one argument, in the type that its values share; of text if they share none."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else value_text(value) for value in values])
