"""Arrays from files of numbers: ``.npy``, ``.npz`` and ``.csv``. Nothing is ever unpickled."""

import csv
import zipfile
import zlib
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_decomp.errors import DataError

Columns = Sequence[str | int]

_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    csv.Error,
)


def read_array(path: Path, *, key: str | None, columns: Columns | None) -> NDArray[Any]:
    """Read the array in a file; the ending of its name says how.

    Args:
        path: A ``.npy``, ``.npz`` or ``.csv`` file.
        key: Which array of a ``.npz`` file; needed only when it holds several.
        columns: Which columns of a ``.csv`` file, by name or by position from 0.

    Raises:
        DataError: The file is missing, of another kind or damaged, or does not hold what was
            asked for.
    """
    readers: dict[str, Callable[[], NDArray[Any]]] = {
        ".npy": lambda: _read_npy(path),
        ".npz": lambda: _read_npz(path, key),
        ".csv": lambda: _read_csv(path, columns),
    }
    kind = path.suffix.lower()
    if kind not in readers:
        raise DataError(f"{path}: expected a file ending in {', '.join(readers)}, got {kind!r}")
    if key is not None and kind != ".npz":
        raise DataError(f"key: expected None for a {kind} file, which has no keys, got {key!r}")
    if columns is not None and kind != ".csv":
        raise DataError(f"columns: expected None for a {kind} file, got {columns!r}")
    if not path.is_file():
        raise DataError(f"{path}: expected an existing file, got no such file")
    try:
        return readers[kind]()
    except DataError:
        raise
    except _UNREADABLE as error:
        reason = str(error).split("\n", maxsplit=1)[0] or type(error).__name__
        raise DataError(f"{path}: expected a readable {kind} file, got: {reason}") from error


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


def _read_csv(path: Path, columns: Columns | None) -> NDArray[Any]:
    """Read a table; its first line is a header if it has no number in it."""
    numbers = array("d")
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        rows = ((lines.line_num, cells) for cells in lines if cells)
        line, first = next(rows, (0, []))
        header = first if first and not any(map(_is_number, first)) else None
        chosen = _positions(path, columns, header, width=len(first))
        if first and header is None:
            numbers.extend(_numbers(path, line, first, chosen))
        for line, cells in rows:
            if len(cells) != len(first):
                raise DataError(
                    f"{path}: expected {len(first)} columns as in the first line, "
                    f"got {len(cells)} in line {line}"
                )
            numbers.extend(_numbers(path, line, cells, chosen, header))
    return np.array(numbers).reshape(-1, max(len(chosen), 1))


def _positions(
    path: Path, columns: Columns | None, header: list[str] | None, width: int
) -> Sequence[int]:
    """Turn chosen columns, by name or position, into positions."""
    if columns is None:
        return range(width)
    positions = []
    for column in columns:
        if isinstance(column, int) and 0 <= column < width:
            positions.append(column)
        elif header is not None and column in header:
            positions.append(header.index(str(column)))
        else:
            names = f", or among {', '.join(header)}" if header else " (the file has no header)"
            raise DataError(
                f"{path}: expected columns among 0 to {width - 1}{names}, got {column!r}"
            )
    return positions


def _numbers(
    path: Path,
    line: int,
    cells: list[str],
    chosen: Sequence[int],
    header: list[str] | None = None,
) -> list[float]:
    try:
        return [float(cells[position]) for position in chosen]
    except ValueError:
        bad = next(position for position in chosen if not _is_number(cells[position]))
        column = f"{header[bad]!r}" if header else f"{bad} (counted from 0)"
        raise DataError(
            f"{path}: expected a number in line {line}, column {column}, got {cells[bad]!r}"
        ) from None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
