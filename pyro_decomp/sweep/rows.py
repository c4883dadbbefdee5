"""One row a run: what it was given, what became of it, and what was measured."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.sweep.description import NAME, described_grid, read_description
from pyro_decomp.sweep.journal import read_journal
from pyro_decomp.sweep.run_files import defaults_in, flat, last_terms
from pyro_decomp.training.json_files import read_json

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
        way: How it was trained, ``together`` with others or ``alone``; None if it was not.
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
        """A term or what was measured; None where it has none."""
        return self.terms.get(quantity, self.metrics.get(quantity))


def rows_of_sweep(folder: Path) -> list[Row]:
    """A row for every member of a sweep, in the order of its grid; it may still be running.

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
    try:
        config = read_json(folder / "config.json")
        arguments, seed = config["arguments"], int(config["seed"])
        terms, step = last_terms(folder)
        metrics_path = folder / "metrics.json"
        measured = read_json(metrics_path) if metrics_path.exists() else {}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise RunError(f"{folder}: expected a run that can be read, got {error!r}") from error
    status = "finished" if step >= config.get("total_steps", step) else UNFINISHED
    file = Path(config.get("source_file") or "").stem
    given = {**defaults_in(config.get("source") or ""), **arguments}
    terms = terms if status == "finished" else {}
    return Row(folder.name, file, given, seed, status, "", step, None, None, terms, flat(measured))


def rows_of(path: Path) -> list[Row]:
    """The rows of a sweep, of a run, or of all runs and sweeps below a folder.

    Raises:
        RunError: There is none, or one cannot be read.
    """
    if (path / NAME).exists():
        return rows_of_sweep(path)
    if (path / "config.json").exists():
        return [row_of_run(path)]
    below = [child for child in sorted(path.iterdir()) if child.is_dir()] if path.is_dir() else []
    rows = []
    for child in below:
        with suppress(_NothingHereError):
            rows += rows_of(child)
    if not rows:
        raise _NothingHereError(f"{path}: expected a sweep, a run, or a folder of runs, found none")
    return rows


class _NothingHereError(RunError):
    """A folder without any run."""
