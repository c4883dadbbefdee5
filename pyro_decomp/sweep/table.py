"""The table of a sweep: a row a member, a column whatever is known of it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pyro_decomp import arguments
from pyro_decomp.sweep.naming import value_text
from pyro_decomp.sweep.rows import Row, rows_of_sweep

OF_RUN: dict[str, pa.DataType] = {
    "seed": pa.int64(),
    "status": pa.string(),
    "message": pa.string(),
    "steps": pa.int64(),
    "seconds": pa.float64(),
    "way": pa.string(),
}


def read_table(path: str | os.PathLike[str]) -> pa.Table:
    """The table of a sweep as it stands, also while it is running.

    The columns are ``member``, every argument of ``experiment``, ``seed``, ``status``, ``message``,
    ``steps``, ``seconds``, ``way``, the terms of the last logged step, and what was measured as
    ``train.NAME`` and ``test.NAME``. An argument of one of those names is ``argument.NAME``, a term
    of an argument's name ``last.NAME``. A member that has not ended is ``unfinished`` and its terms
    are null.

    Args:
        path: The folder of the sweep.

    Returns:
        A row a member in the order of the grid; ``read_table(path).to_pandas()`` where pandas is
        installed.

    Raises:
        RunError: There is no sweep, or it cannot be read.
    """
    arguments.annotated(read_table, locals())
    return as_table(rows_of_sweep(Path(path)))


def as_table(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table; see `read_table`."""
    columns = {"member": pa.array([row.member for row in rows], pa.string())}
    for name in dict.fromkeys(name for row in rows for name in row.arguments):
        heading = f"argument.{name}" if name in {"member", *OF_RUN} else name
        columns[heading] = _column([row.arguments.get(name) for row in rows])
    for name, kind in OF_RUN.items():
        columns[name] = pa.array([getattr(row, name) for row in rows], kind)
    for name in dict.fromkeys(name for row in rows for name in row.terms):
        heading = f"last.{name}" if name in columns else name
        columns[heading] = pa.array([row.terms.get(name) for row in rows], pa.float64())
    for name in dict.fromkeys(name for row in rows for name in row.metrics):
        columns[name] = pa.array([row.metrics.get(name) for row in rows], pa.float64())
    return pa.table(columns)


def _column(values: list[Any]) -> pa.Array:
    """Values of one argument in the type that they share; text where they share none."""
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if value is None else value_text(value) for value in values])
