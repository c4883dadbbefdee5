"""Tables of numbers in ``.parquet`` files; internal."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pyro_decomp.data.tables import LARGEST_WHOLE, Columns, Table, positions, refuse_large_table
from pyro_decomp.errors import DataError


def read_parquet(path: Path, columns: Columns | None, *, without: Columns = ()) -> Table:
    """Read columns of numbers as one array of float64.

    Args:
        path: The file.
        columns: Which columns; by default all, less the numbers of the rows.
        without: Columns that are not among "all".

    Raises:
        DataError: There is no such column, it does not hold numbers, a value is missing, or a whole
            number is too large for a float64.
    """
    with _opened(path) as file:
        names = file.schema_arrow.names
        chosen = positions(path, columns, names, len(names), without=without)
        for position in chosen:
            _check_column(path, file.schema_arrow.field(position), names)
        refuse_large_table(path, file.metadata.num_rows, len(chosen))
        values = np.empty((file.metadata.num_rows, len(chosen)))
        table = file.read(columns=[names[position] for position in chosen])
        for index, position in enumerate(chosen):
            values[:, index] = _numbers(path, names[position], table.column(names[position]))
    found = Table(values, [names[position] for position in chosen])
    return found.without_row_numbers(str(path)) if columns is None else found


def parquet_columns(path: Path) -> tuple[list[str], int]:
    """The names of the columns of a ``.parquet`` file, and how many there are."""
    with _opened(path) as file:
        names = list(file.schema_arrow.names)
    return names, len(names)


def _check_column(path: Path, column: Any, names: Sequence[str]) -> None:
    """Check that a column of a ``.parquet`` file is of numbers, and the only one of its name."""
    import pyarrow as pa  # noqa: PLC0415 (as above)

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    if not is_number:
        raise DataError(
            f"{path}: expected numbers in column {column.name!r}, got {column.type}: leave it out "
            "with columns=[...], or write it as numbers"
        )
    if list(names).count(column.name) > 1:
        raise DataError(
            f"{path}: expected columns with names of their own, got several of the name "
            f"{column.name!r}: rename them"
        )


def _numbers(path: Path, name: str, column: Any) -> Any:
    if column.null_count:
        row = int(column.is_null().to_numpy().argmax())
        raise DataError(
            f"{path}: expected a value in each row of column {name!r}, got {column.null_count} "
            f"missing, the first of them in row {row}: leave the column or those rows out, or fill "
            "them and give the programs a mask of what is known"
        )
    numbers = column.to_numpy()
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == np.dtype(np.int64).itemsize:
        large = (numbers > LARGEST_WHOLE) | (numbers < -LARGEST_WHOLE)
        if large.any():
            raise DataError(
                f"{path}: expected whole numbers of at most 2**53, which a float64 keeps apart, "
                f"got {numbers[large][0]} in column {name!r}: leave it out with columns=[...]"
            )
    return numbers


def _opened(path: Path) -> Any:
    from pyarrow import parquet  # noqa: PLC0415 (most data are no tables)

    return parquet.ParquetFile(path)
