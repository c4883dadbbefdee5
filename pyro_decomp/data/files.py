"""Arrays from files of numbers, by the ending of their names; nothing is unpickled. Internal."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_decomp.data.parquet_tables import parquet_columns, read_parquet
from pyro_decomp.data.readable import check_array, refuse_unreadable
from pyro_decomp.data.tables import Columns, Table, csv_columns, read_csv
from pyro_decomp.errors import DataError, memory

KINDS = (".npy", ".npz", ".csv", ".parquet")
TABLES = (".csv", ".parquet")
MOST_NAMES = 10  # of arrays, that a message lists
BOMB_BYTES, BOMB_RATIO = 2**30, 500  # of what is hardly data: larger and compressed by more
ENCRYPTED = 1  # the bit of a zip file's flags that says so


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
    with refuse_unreadable(path), zipfile.ZipFile(path) as archive:
        return list(_members(path, archive))


def _read_npy(path: Path) -> NDArray[Any]:
    with path.open("rb") as file:
        check_array(path, file, path.stat().st_size, mapped=False)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_npz(path: Path, key: str | None) -> NDArray[Any]:
    with zipfile.ZipFile(path) as archive:
        members = _members(path, archive)
        names = ", ".join([*members][:MOST_NAMES]) or "none"
        names += f" and {len(members) - MOST_NAMES} more" if len(members) > MOST_NAMES else ""
        if key is None and len(members) != 1:
            raise DataError(f"{path}: expected one array, or a key to choose by, got keys: {names}")
        chosen = next(iter(members)) if key is None else key
        if chosen not in members:
            raise DataError(f"{path}: expected a key among {names}, got {chosen!r}")
        member = members[chosen]
        if member.file_size > max(BOMB_BYTES, BOMB_RATIO * member.compress_size):
            raise DataError(
                f"{path}: the array {chosen!r} takes {memory.text(member.file_size)} of memory, "
                f"from {memory.text(member.compress_size)} in the file, as files made to fill the "
                "memory do: if it is meant, save it as a .npy file"
            )
        with archive.open(member) as stream:
            check_array(path, stream, member.file_size, key=chosen, mapped=False)
        with archive.open(member) as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)


def _members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The files in a ``.npz`` file by the names of their arrays."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in members:
            raise DataError(
                f"{path}: expected arrays with names of their own, got two of the name {name!r}: "
                "write the file again"
            )
        if member.flag_bits & ENCRYPTED:
            raise DataError(f"{path}: expected plain arrays, got {name!r} under a password")
        members[name] = member
    return members
