"""Tables of named columns, the choosing of columns, and ``.csv`` files; internal."""

import csv
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from pyro_decomp import arguments
from pyro_decomp.data.headers import LOOKED_AT, counting, header, is_number, row_numbers
from pyro_decomp.data.readable import MAX_LINE, refuse_larger, text_lines
from pyro_decomp.errors import DataError

Columns = Sequence[str | int]

LARGEST_WHOLE = 2**53  # a float64 tells it from its neighbours
BLOCK_BYTES = 2**13  # of each column, that are read at once
CELL_BYTES = 16  # of each number: as it is read, and in the table
MOST_NAMES = 10  # of columns, that a message lists
MOST_TOLD = 60  # characters of a cell, that a message repeats


@dataclass(frozen=True)
class Table:
    """A table of numbers whose columns may have names.

    Attributes:
        values: A row a datum.
        names: One for each column; None where the file has none.
    """

    values: Float[NDArray[np.float64], "rows columns"]
    names: list[str] | None = None

    def without_row_numbers(self, source: str) -> "Table":
        """Leave out a first column that has no name and numbers the rows, with a warning."""
        if self.values.shape[1] < 2 or not row_numbers(self.names, self.values):
            return self
        warnings.warn(
            f"{source}: the first column has no name and only numbers the rows; it is left out "
            "(choosing columns=[0, ...] would keep it)",
            stacklevel=2,
        )
        return Table(self.values[:, 1:], self.names and self.names[1:])

    def warn_of_counts(self, source: str) -> None:
        """Warn of columns that merely count the rows, as what measures something hardly does."""
        if found := [self.label(int(index)) for index in counting(self.values).nonzero()[0]]:
            warnings.warn(
                f"{source}: {', '.join(found)} merely counts the rows: if that is no measurement, "
                "leave it out by choosing columns=[...]",
                stacklevel=2,
            )

    def label(self, index: int) -> str:
        """The name of a column in messages."""
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
    layout = _layout(path, has_header=has_header, is_told=True)
    chosen = positions(path, columns, layout.names, layout.width, without=without)
    values = _values(path, chosen, layout)
    table = Table(values, layout.names and [layout.names[index] for index in chosen])
    return table.without_row_numbers(str(path)) if columns is None else table


def csv_columns(path: Path, *, has_header: bool | None = None) -> tuple[list[str] | None, int]:
    """The names of the columns of a ``.csv`` file, None without a header, and their number."""
    layout = _layout(path, has_header=has_header)
    return layout.names, layout.width


class _Layout(NamedTuple):
    """How the lines of a ``.csv`` file are laid out.

    Attributes:
        names: Of the columns; None without a header.
        width: How many columns there are.
        skipped: How many lines the names take.
        line_size: Characters of a line, on average.
    """

    names: list[str] | None
    width: int
    skipped: int
    line_size: float


def _layout(path: Path, *, has_header: bool | None, is_told: bool = False) -> _Layout:
    """Judge by the first lines, of which no more are held than one line may be long."""
    lines, size = [], 0
    for end, cells in _lines(path):
        lines.append((end, cells))
        size += sum(map(len, cells)) + len(cells)
        if len(lines) > LOOKED_AT or size > MAX_LINE:
            break
    end, first = lines[0] if lines else (0, [])
    names, said = header(first, [cells for _, cells in lines[1:]], asked=has_header)
    if said and is_told:
        warnings.warn(f"{path}: {said}", stacklevel=2)
    skipped = 0 if names is None else end
    return _Layout(names, len(first), skipped, size / max(1, len(lines)))


def _values(
    path: Path, chosen: Sequence[int], layout: _Layout
) -> Float[NDArray[np.float64], "rows columns"]:
    """The chosen columns below the names, read by pyarrow."""
    import pyarrow as pa  # noqa: PLC0415 (most data are no tables)
    from pyarrow import csv as arrow  # noqa: PLC0415

    num_rows = path.stat().st_size / max(1.0, layout.line_size)
    refuse_large_table(path, num_rows, len(chosen))
    labels = [str(index) for index in range(layout.width)]
    wanted = [labels[index] for index in dict.fromkeys(chosen)]
    try:
        table = arrow.read_csv(
            path,
            read_options=arrow.ReadOptions(
                column_names=labels,
                skip_rows=layout.skipped,
                block_size=BLOCK_BYTES * min(max(layout.width, 128), 2**17),
            ),
            parse_options=arrow.ParseOptions(newlines_in_values=True),
            convert_options=arrow.ConvertOptions(
                include_columns=wanted,
                column_types=dict.fromkeys(wanted, pa.float64()),
                null_values=[],
            ),
        )
    except pa.ArrowInvalid:
        if _checked_lines(path, chosen, layout) == 0:
            return np.empty((0, len(chosen)))
        raise
    values = np.empty((table.num_rows, len(chosen)))
    for place, index in enumerate(chosen):
        values[:, place] = table.column(labels[index]).to_numpy()
    if (np.abs(values) >= LARGEST_WHOLE).any():
        _checked_lines(path, chosen, layout)
    return values


def refuse_large_table(path: Path, num_rows: float, num_columns: int) -> None:
    """Refuse a table of so many numbers if that is more than the memory that is free."""
    refuse_larger(
        f"{path}: a table of {num_rows:.0f} rows and {num_columns} columns",
        num_rows * num_columns * CELL_BYTES,
        "choose some of the columns, or save it as a .npy file, of which memory_mapped(path) "
        "reads a batch at a time",
    )


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
        columns = [arguments.plain(column) for column in columns]  # numpy's numbers too
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
            known = f", or among {_few(names)}" if names else " (the file has no header)"
            raise DataError(
                f"{path}: expected columns among 0 to {width - 1}{known}, got {column!r}"
            )
    return found


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The cells of each line that has some, and the number of its last line of text."""
    lines = csv.reader(text_lines(path))
    end = 0
    try:
        for cells in lines:
            end = lines.line_num
            if cells:
                yield end, cells
    except csv.Error as error:
        raise DataError(
            f"{path}: expected cells of at most {csv.field_size_limit()} characters, got a longer "
            f"one from line {end + 1} on: is a quote there without its pair?"
        ) from error


def _checked_lines(path: Path, chosen: Sequence[int], layout: _Layout) -> int:
    """How many lines of data there are, as long as none is one that pyarrow cannot read."""
    count = 0
    for line, cells in _lines(path):
        if line <= layout.skipped:
            continue
        count += 1
        if len(cells) != layout.width:
            raise DataError(
                f"{path}: expected {layout.width} columns as in the first line, "
                f"got {len(cells)} in line {line}{_other_separator(layout)}"
            )
        for index in chosen:
            cell = cells[index].strip(" \t")
            where = f"line {line}, column {_column(index, layout.names)}"
            if not is_number(cell) or cell != cell.strip():
                got = repr(cells[index]) if len(cell) <= MOST_TOLD else f"{cell[:MOST_TOLD]!r}..."
                raise DataError(
                    f"{path}: expected a number in {where}, got {got}{_other_separator(layout)}"
                )
            if cell.lstrip("+-").isdigit() and abs(int(cell)) != abs(int(float(cell))):
                raise DataError(
                    f"{path}: expected whole numbers of at most 2**53, which a float64 keeps "
                    f"apart, got {cell} in {where}: leave it out with columns=[...]"
                )
    return count


def _other_separator(layout: _Layout) -> str:
    """A clause on what separates columns where it is no comma; empty where there are several."""
    found = [mark for mark in (";", "\t") if layout.names and mark in layout.names[0]]
    if layout.width > 1 or not found:
        return ""
    return (
        f": expected commas between columns, and points in numbers, got {found[0]!r}: "
        f"pandas.read_csv(path, sep={found[0]!r}) reads it, with decimal=',' where numbers have one"
    )


def _column(index: int, names: list[str] | None) -> str:
    return f"{names[index]!r}" if names else f"{index} (counted from 0)"
