"""Tables from ``.csv`` files, and the choosing of columns."""

import csv
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_decomp.errors import DataError

Columns = Sequence[str | int]


def read_csv(path: Path, columns: Columns | None) -> NDArray[Any]:
    """Read numbers separated by commas; the first line is a header if it has no number in it."""
    numbers = array("d")
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = _lines(file)
        line, first = next(rows, (0, []))
        header = _header(first)
        chosen = positions(path, columns, header, width=len(first))
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


def csv_columns(path: Path) -> tuple[list[str] | None, int]:
    """The names of the columns, None without a header, and how many there are."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        _, first = next(_lines(file), (0, []))
    return _header(first), len(first)


def positions(
    path: Path, columns: Columns | None, header: Sequence[str] | None, width: int
) -> list[int]:
    """Turn chosen columns, by name or position, into positions; all if none are chosen."""
    if columns is None:
        return list(range(width))
    found = []
    for column in columns:
        if isinstance(column, int) and 0 <= column < width:
            found.append(column)
        elif header is not None and column in header:
            found.append(list(header).index(str(column)))
        else:
            names = f", or among {', '.join(header)}" if header else " (the file has no header)"
            raise DataError(
                f"{path}: expected columns among 0 to {width - 1}{names}, got {column!r}"
            )
    return found


def _lines(file: Any) -> Iterator[tuple[int, list[str]]]:
    lines = csv.reader(file)
    return ((lines.line_num, cells) for cells in lines if cells)


def _header(first: list[str]) -> list[str] | None:
    return first if first and not any(map(_is_number, first)) else None


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
