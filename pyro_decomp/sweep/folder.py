"""The files of a sweep."""

import csv
import io
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from pyro_decomp.errors import RunError, unfinished, write_whole
from pyro_decomp.sweep.description import NAME, check_extends, described_grid, read_description
from pyro_decomp.training.json_files import write_json

PICTURES = ("trade_off.png", "boxes.png", "scatter.png")


class SweepFolder:
    """``sweep.json``, ``members/NAME/``, ``members.jsonl``, ``table.csv`` and ``table.parquet``."""

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
                    f"{self.path} already holds a sweep: go on with it with --resume, replace it "
                    "with --force, or choose another folder with --out"
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
        write_json(self.description_path, description)

    def run_path(self, member: str) -> Path:
        """The run folder of a member."""
        return self.members_path / member

    def write_tables(self, table: pa.Table) -> None:
        """Write ``table.csv`` and ``table.parquet``, each whole or not at all."""
        write_whole(self.csv_path, as_csv(table))
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer)
        write_whole(self.parquet_path, buffer.getvalue())


def as_csv(table: pa.Table) -> bytes:
    """A table as text; an empty cell is a value that is not there, a list is JSON's."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows([_cell(value) for value in row.values()] for row in table.to_pylist())
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, bool | list) else value


def _is_unfinished(path: Path) -> bool:
    """Whether a file is what a killed writer left of ``sweep.json``, or the folder made before."""
    is_ours = path.name in {unfinished(Path(NAME)).name, "members"}
    return is_ours and not (path.is_dir() and any(path.iterdir()))
