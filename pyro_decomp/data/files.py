"""Arrays from files of numbers, by the ending of their names; nothing is unpickled. Internal."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_decomp.data.checks import refuse_unreadable
from pyro_decomp.data.tables import (
    Columns,
    Table,
    csv_columns,
    parquet_columns,
    read_csv,
    read_parquet,
)
from pyro_decomp.errors import DataError

KINDS = (".npy", ".npz", ".csv", ".parquet")
TABLES = (".csv", ".parquet")


def read_array(path: Path, *, key: str | None) -> NDArray[Any]:
    """Read the array in a file.

    Args:
        path: A ``.npy`` or ``.npz`` file.
        key: Which array of a ``.npz`` file; needed only when it holds several.

    Raises:
        DataError: The file is missing, of another kind or damaged, or does not hold what was
            asked for.
    """
    readers: dict[str, Callable[[], NDArray[Any]]] = {
        ".npy": lambda: _read_npy(path),
        ".npz": lambda: _read_npz(path, key),
    }
    kind = path.suffix.lower()
    if kind not in readers:
        raise DataError(f"{path}: expected a file ending in {', '.join(KINDS)}, got {kind!r}")
    if key is not None and kind != ".npz":
        raise DataError(f"key: expected None for a {kind} file, which has no keys, got {key!r}")
    with refuse_unreadable(path):
        return readers[kind]()


def read_table(
    path: Path,
    columns: Columns | None = None,
    *,
    has_header: bool | None = None,
    without: Columns = (),
) -> Table:
    """Read numbers and the names of their columns.

    Args:
        path: A ``.csv`` or ``.parquet`` file.
        columns: Which columns, by name or by position from 0; by default all, less those that
            merely number the rows.
        has_header: Whether the first line of a ``.csv`` file names the columns.
        without: Columns that are not among "all".

    Returns:
        The columns in the order chosen.

    Raises:
        DataError: The file is missing, damaged, or does not hold what was asked for.
    """
    if has_header is not None and path.suffix.lower() != ".csv":
        raise DataError(f"header: expected None for {path}, which is no .csv file")
    with refuse_unreadable(path):
        if path.suffix.lower() == ".csv":
            return read_csv(path, columns, has_header=has_header, without=without)
        return read_parquet(path, columns, without=without)


def is_table(path: Path) -> bool:
    """Whether the name of a file is that of a table."""
    return path.suffix.lower() in TABLES


def table_columns(path: Path, *, has_header: bool | None = None) -> tuple[list[str] | None, int]:
    """The names of a table's columns, None where it has no header, and how many there are.

    Raises:
        DataError: The file is missing, damaged or not a table.
    """
    if not is_table(path):
        kind = path.suffix.lower()
        raise DataError(f"{path}: expected a table ending in {', '.join(TABLES)}, got {kind!r}")
    with refuse_unreadable(path):
        if path.suffix.lower() == ".csv":
            return csv_columns(path, has_header=has_header)
        return parquet_columns(path)


def npz_keys(path: Path) -> list[str]:
    """The names of the arrays in a ``.npz`` file.

    Raises:
        DataError: The file is missing or damaged.
    """
    with refuse_unreadable(path), np.load(path, allow_pickle=False) as archive:
        return list(archive.files)


def _read_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_npz(path: Path, key: str | None) -> NDArray[Any]:
    with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as archive:
        names = ", ".join(archive.files) or "none"
        if key is None and len(archive.files) != 1:
            raise DataError(f"{path}: expected one array, or a key to choose by, got keys: {names}")
        chosen = archive.files[0] if key is None else key
        if chosen not in archive.files:
            raise DataError(f"{path}: expected a key among {names}, got {chosen!r}")
        return np.asarray(archive[chosen])
