"""Tables of named columns: the choosing of columns, and ``.csv`` files."""

import csv
import warnings
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from pyro_decomp import arguments
from pyro_decomp.data.headers import LOOKED_AT, counting, header, is_number, row_numbers
from pyro_decomp.errors import DataError

Columns = Sequence[str | int]

LARGEST_WHOLE = 2**53  # a float64 tells it from its neighbours


@dataclass(frozen=True)
class Table:
    """Columns of numbers.

    Attributes:
        values: A row a datum.
        names: One for each column; None where the file has none.
    """

    values: Float[NDArray[np.float64], "rows columns"]
    names: list[str] | None = None

    def without_row_numbers(self, source: str) -> "Table":
        """The same but for a first column that has no name and numbers the rows, with a warning."""
        if self.values.shape[1] < 2 or not row_numbers(self.names, self.values):
            return self
        warnings.warn(
            f"{source}: the first column has no name and only numbers the rows; it is left out "
            "(choosing columns=[0, ...] would keep it)",
            stacklevel=2,
        )
        return Table(self.values[:, 1:], self.names and self.names[1:])

    def warn_of_counts(self, source: str) -> None:
        """Say which columns merely count the rows, as what measures something hardly does."""
        if found := [self.label(int(index)) for index in counting(self.values).nonzero()[0]]:
            warnings.warn(
                f"{source}: {', '.join(found)} merely counts the rows: if that is no measurement, "
                "leave it out by choosing columns=[...]",
                stacklevel=2,
            )

    def label(self, index: int) -> str:
        """What messages call a column."""
        return f"column {index}" if self.names is None else f"column {self.names[index]!r}"


def read_csv(
    path: Path,
    columns: Columns | None,
    *,
    has_header: bool | None = None,
    without: Columns = (),
) -> Table:
    """Read numbers separated by commas.

    Args:
        path: The file.
        columns: Which columns; by default all, less the numbers of the rows.
        has_header: Whether the first line names the columns; by default see
            :func:`pyro_decomp.data.headers.header`.
        without: Columns that are not among "all".
    """
    names, width = csv_columns(path, has_header=has_header, is_told=True)
    chosen = positions(path, columns, names, width, without=without)
    numbers = array("d")
    with path.open(encoding="utf-8-sig", newline="") as file:
        for line, cells in islice(_lines(file), 0 if names is None else 1, None):
            if len(cells) != width:
                raise DataError(
                    f"{path}: expected {width} columns as in the first line, "
                    f"got {len(cells)} in line {line}"
                )
            numbers.extend(_numbers(path, line, cells, chosen, names))
    values = np.array(numbers).reshape(-1, max(len(chosen), 1))
    table = Table(values, None if names is None else [names[index] for index in chosen])
    return table.without_row_numbers(str(path)) if columns is None else table


def csv_columns(
    path: Path, *, has_header: bool | None = None, is_told: bool = False
) -> tuple[list[str] | None, int]:
    """The names of the columns, None without a header, and how many there are."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = [cells for _, cells in islice(_lines(file), LOOKED_AT + 1)]
    first = lines[0] if lines else []
    names, said = header(first, lines[1:], asked=has_header)
    if said and is_told:
        warnings.warn(f"{path}: {said}", stacklevel=2)
    return names, len(first)


def positions(
    path: Path,
    columns: Columns | None,
    names: Sequence[str] | None,
    width: int,
    *,
    without: Columns = (),
) -> list[int]:
    """Turn chosen columns, by name or position, into positions; all if none are chosen."""
    if columns is None:
        excluded = positions(path, without, names, width) if without else []
        return [index for index in range(width) if index not in excluded]
    with arguments.raised_as(DataError):
        arguments.items((int, str), "names or positions of columns", columns=columns)
    found = []
    for column in columns:
        if isinstance(column, int) and 0 <= column < width:
            found.append(column)
        elif names is not None and list(names).count(str(column)) > 1:
            raise DataError(
                f"{path}: expected columns with names of their own, got {column!r}, which several "
                f"have: choose it by its position, 0 to {width - 1}"
            )
        elif names is not None and column in names:
            found.append(list(names).index(str(column)))
        else:
            known = f", or among {', '.join(names)}" if names else " (the file has no header)"
            raise DataError(
                f"{path}: expected columns among 0 to {width - 1}{known}, got {column!r}"
            )
    return found


def _lines(file: Any) -> Iterator[tuple[int, list[str]]]:
    lines = csv.reader(file)
    return ((lines.line_num, cells) for cells in lines if cells)


def _numbers(
    path: Path, line: int, cells: list[str], chosen: Sequence[int], names: list[str] | None
) -> list[float]:
    try:
        numbers = [float(cells[index]) for index in chosen]
    except ValueError:
        bad = next(index for index in chosen if not is_number(cells[index]))
        raise DataError(
            f"{path}: expected a number in line {line}, column {_column(bad, names)}, "
            f"got {cells[bad]!r}"
        ) from None
    if max(numbers, default=0.0) >= LARGEST_WHOLE or min(numbers, default=0.0) <= -LARGEST_WHOLE:
        _check_whole(path, line, [cells[index] for index in chosen], chosen, names)
    return numbers


def _check_whole(
    path: Path, line: int, cells: list[str], chosen: Sequence[int], names: list[str] | None
) -> None:
    for index, cell in zip(chosen, cells, strict=True):
        digits = cell.strip().lstrip("+-")
        if digits.isdigit() and int(digits) != int(float(digits)):
            raise DataError(
                f"{path}: expected whole numbers of at most 2**53, which a float64 keeps apart, "
                f"got {cell} in line {line}, column {_column(index, names)}: leave it out with "
                "columns=[...]"
            )


def _column(index: int, names: list[str] | None) -> str:
    return f"{names[index]!r}" if names else f"{index} (counted from 0)"
