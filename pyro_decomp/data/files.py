"""Arrays from files of numbers: the ending of a name says how. Nothing is ever unpickled."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_decomp.data.checks import refuse_unreadable
from pyro_decomp.data.parquet import parquet_columns, read_parquet
from pyro_decomp.data.tables import Columns, csv_columns, read_csv
from pyro_decomp.errors import DataError

KINDS = (".npy", ".npz", ".csv", ".parquet")
TABLES = (".csv", ".parquet")


def read_array(path: Path, *, key: str | None, columns: Columns | None) -> NDArray[Any]:
    """Read the array in a file.

    Args:
        path: A ``.npy``, ``.npz``, ``.csv`` or ``.parquet`` file.
        key: Which array of a ``.npz`` file; needed only when it holds several.
        columns: Which columns of a table, by name or by position from 0.

    Raises:
        DataError: The file is missing, of another kind or damaged, or does not hold what was
            asked for.
    """
    readers: dict[str, Callable[[], NDArray[Any]]] = {
        ".npy": lambda: _read_npy(path),
        ".npz": lambda: _read_npz(path, key),
        ".csv": lambda: read_csv(path, columns),
        ".parquet": lambda: read_parquet(path, columns),
    }
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise DataError(f"{path}: expected a file ending in {', '.join(KINDS)}, got {kind!r}")
    if key is not None and kind != ".npz":
        raise DataError(f"key: expected None for a {kind} file, which has no keys, got {key!r}")
    if columns is not None and kind not in TABLES:
        raise DataError(f"columns: expected None for a {kind} file, got {columns!r}")
    with refuse_unreadable(path):
        return readers[kind]()


def table_columns(path: Path) -> tuple[list[str] | None, int]:
    """The names of a table's columns, None where it has no header, and how many there are.

    Raises:
        DataError: The file is missing, damaged or not a table.
    """
    kind = path.suffix.lower()
    if kind not in TABLES:
        raise DataError(f"{path}: expected a table ending in {', '.join(TABLES)}, got {kind!r}")
    with refuse_unreadable(path):
        return csv_columns(path) if kind == ".csv" else parquet_columns(path)


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
