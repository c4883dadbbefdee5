"""Tables from ``.parquet`` files, through pyarrow if it is installed."""

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_decomp.data.tables import Columns, positions
from pyro_decomp.errors import DataError


def read_parquet(path: Path, columns: Columns | None) -> NDArray[Any]:
    """Read columns of numbers as one array of float64; a missing value becomes NaN.

    Raises:
        DataError: pyarrow is not installed, there is no such column, or it does not hold numbers.
    """
    with _opened(path) as file:
        names = file.schema_arrow.names
        chosen = positions(path, columns, names, width=len(names))
        for position in chosen:
            column = file.schema_arrow.field(position)
            if np.dtype(column.type.to_pandas_dtype()).kind not in "biuf":
                raise DataError(
                    f"{path}: expected numbers in column {column.name!r}, got {column.type}"
                )
        values = np.empty((file.metadata.num_rows, len(chosen)))
        table = file.read(columns=[names[position] for position in chosen])
        for index, position in enumerate(chosen):
            values[:, index] = table.column(names[position]).to_numpy()
    return values


def parquet_columns(path: Path) -> tuple[list[str], int]:
    """The names of the columns, and how many there are."""
    with _opened(path) as file:
        names = list(file.schema_arrow.names)
    return names, len(names)


def _opened(path: Path) -> Any:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError as error:
        raise DataError(
            f"{path}: expected the package pyarrow, which reads .parquet files, to be installed, "
            "got none: pip install pyarrow"
        ) from error
    return parquet.ParquetFile(path)
