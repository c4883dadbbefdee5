"""The files of a sweep."""

import io
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

from pyro_decomp.errors import RunError, write_whole
from pyro_decomp.sweep.grid import MOST_MEMBERS, Grid, num_members
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.recorded.kept import FILE_NAME
from pyro_decomp.training.run_files.checked_files import read_checked, write_checked
from pyro_decomp.training.run_files.history import csv_text
from pyro_decomp.training.run_files.json_files import marked, plain, read_json, write_json
from pyro_decomp.training.run_files.run_config import versions
from pyro_decomp.training.run_files.writer import is_passing

if TYPE_CHECKING:
    import pyarrow as pa

PICTURES = ("trade_off.png", "boxes.png", "scatter.png")


class SweepFolder:
    """The files of one sweep.

    ``sweep.json``, ``members/NAME/``, ``members.jsonl``, ``table.csv`` and ``table.parquet``.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.description_path = self.path / NAME
        self.members_path = self.path / "members"
        self.journal_path = self.path / "members.jsonl"
        self.items_path = self.path / "items"
        self.running_path = self.path / ".running"
        self.csv_path = self.path / "table.csv"
        self.parquet_path = self.path / "table.parquet"
        self.plots_path = self.path / "plots"

    def check(self, description: Mapping[str, Any], *, resume: bool, force: bool) -> None:
        """Refuse a folder in which this sweep cannot be run; change nothing.

        Raises:
            RunError: It holds a sweep and neither ``resume`` nor ``force`` is set, or another sweep
                and ``force`` is not, or files that are no sweep.
        """
        if resume and force:
            raise RunError("expected one of --resume and --force, got both")
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: expected a folder for the sweep, got a file")
        if self.description_path.exists():
            before = read_description(self.path)
            if resume:
                check_extends(self.path, before, description)
            elif not force:
                raise RunError(
                    f"{self.path} already holds a sweep: go on with it with --resume "
                    "(resume=True), replace it with --force (force=True), or choose another folder "
                    "with --out"
                )
        elif self.path.exists() and any(not _is_unfinished(p) for p in self.path.iterdir()):
            raise RunError(f"{self.path} holds files but no sweep: choose another with --out")

    def begin(self, description: Mapping[str, Any], *, force: bool) -> None:
        """Make the folder, or take away what the sweep before left, and write ``sweep.json``.

        What is finished goes first, so that a sweep half taken away is one with nothing finished.
        """
        if force and self.description_path.exists():
            before = described_grid(read_description(self.path))
            tables = (self.journal_path, self.csv_path, self.parquet_path)
            for path in (*tables, *(self.plots_path / name for name in PICTURES)):
                path.unlink(missing_ok=True)
            for folder in (self.items_path, *(self.run_path(m.name) for m in before.members())):
                with suppress(FileNotFoundError):
                    shutil.rmtree(folder)
        self.members_path.mkdir(parents=True, exist_ok=True)
        write_checked(self.description_path, marked(description))

    def run_path(self, member: str) -> Path:
        """The run folder of a member."""
        return self.members_path / member

    def write_tables(self, table: "pa.Table") -> None:
        """Write ``table.csv`` and ``table.parquet``, each whole or not at all."""
        import pyarrow.parquet  # noqa: PLC0415 (takes a while)

        write_whole(self.csv_path, as_csv(table))
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer)
        write_whole(self.parquet_path, buffer.getvalue())


def as_csv(table: "pa.Table") -> bytes:
    """A table as text; an empty cell is a value that is not there, a list is JSON's."""
    rows = ([_cell(value) for value in row.values()] for row in table.to_pylist())
    return csv_text(table.column_names, rows)


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool | list) else value


def _is_unfinished(path: Path) -> bool:
    """Whether a file is what a writer that was killed left, or the folder made before."""
    return path.name == FILE_NAME or is_passing(path)


NAME = "sweep.json"


class Description(TypedDict):
    """The keys of ``sweep.json`` that others rely on."""

    values: dict[str, list[Any]]
    defaults: dict[str, Any]
    seeds: list[int]
    source: str
    source_file: str
    source_sha256: str
    source_folders: NotRequired[list[str]]
    metrics: NotRequired[list[str]]
    device: NotRequired[str]
    versions: NotRequired[dict[str, str]]


def describe(
    source: ExperimentFile, grid: Grid, device: str, metrics: Sequence[str]
) -> dict[str, Any]:
    """The description of a sweep that ``sweep.json`` records, in JSON's types."""
    return {
        "values": {name: plain(values) for name, values in grid.values.items()},
        "defaults": {p.name: None if p.required else plain(p.default) for p in source.parameters},
        "seeds": list(grid.seeds),
        "metrics": list(metrics),
        "device": device,
        "versions": versions(),
    } | source.record()


def read_description(folder: Path) -> dict[str, Any]:
    """The contents of ``sweep.json``.

    Raises:
        RunError: There is no sweep, or its ``sweep.json`` is damaged, of something else or of a
            newer version.
    """
    what = "the description of a sweep"
    found = read_checked(folder / NAME, "restore it", Description, what, "the folder of a sweep")
    others = [name for name in (*found["values"], *found["defaults"]) if not name.isidentifier()]
    if others:  # members' folders are named by them
        raise RunError(
            f"{folder / NAME}: expected names of parameters, got {others[0]!r} (restore it)"
        )
    if (count := num_members(found["values"], found["seeds"])) > MOST_MEMBERS:
        raise RunError(
            f"{folder / NAME}: expected at most {MOST_MEMBERS} members, got {count} (restore it)"
        )
    return found


def described_grid(description: Mapping[str, Any]) -> Grid:
    """The grid that a ``sweep.json`` describes, its values in JSON's types."""
    values = {name: tuple(values) for name, values in description["values"].items()}
    return Grid(values, tuple(description["seeds"]), tuple(description["defaults"]))


def check_extends(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a sweep that is to go on has all that it was started with: more it may have.

    Raises:
        RunError: The file is another, a parameter was set in one and not in the other, or a value
            or seed is missing.
    """
    if before["source_sha256"] != now["source_sha256"]:
        raise _refusal(folder, "a different experiment file or function", "use the same")
    if before["values"].keys() != now["values"].keys():
        names = ", ".join(before["values"]) or "no parameters"
        raise _refusal(folder, f"values of {names}", "give values of the same")
    for name, values in before["values"].items():
        missing = [value for value in values if value not in now["values"][name]]
        if missing:
            raise _refusal(
                folder,
                f"{name}={_listed(values)}",
                f"give {_listed(missing)} too",
            )
    missing = [seed for seed in before["seeds"] if seed not in set(now["seeds"])]
    if missing:
        raise _refusal(folder, f"seeds {_listed(before['seeds'])}", f"give {_listed(missing)} too")


def _refusal(folder: Path, what: str, mend: str) -> RunError:
    return RunError(
        f"{folder} cannot be resumed: it was started with {what}; {mend}, or sweep into another "
        "folder with --out"
    )


def _listed(values: Sequence[Any]) -> str:
    words = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return ",".join(words if len(words) <= 10 else [*words[:9], "..."])


MOST_DEATHS = 2  # in a row, without a member being recorded


@contextmanager
def attempt(marker: Path, num_records: int) -> Iterator[bool]:
    """Note in a file that a sweep is running, for as long as it is.

    Args:
        marker: The file; one that is there before is of an attempt that was killed.
        num_records: How many members have been recorded.

    Yields:
        Whether members are to be kept out of this process, since the last ``MOST_DEATHS`` attempts
        were killed before they recorded any.
    """
    deaths = _deaths(marker, num_records)
    write_json(marker, {"records": num_records, "deaths": deaths})
    try:
        yield deaths >= MOST_DEATHS
    finally:
        marker.unlink(missing_ok=True)


def _deaths(marker: Path, num_records: int) -> int:
    try:
        before = read_json(marker)
        return int(before["deaths"]) + 1 if before["records"] == num_records else 1
    except FileNotFoundError:
        return 0
    except (ValueError, TypeError, KeyError):  # of something else
        return 1
