"""``history.csv``: a row a step, and the digest of it that a checkpoint keeps.

Internal. Imports neither numpy nor torch, so that tables of runs are read in an instant.
"""

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.training.run_files.checked_files import RESTORE
from pyro_decomp.training.run_files.json_files import regular

History = dict[str, list[float]]
MOST_BYTES = 2**30
COUNTED = ("step", "epoch")  # columns of whole numbers


def as_csv(history: History) -> bytes:
    """A history as text; a cell is empty where there is no value."""
    return csv_text(
        history,
        (
            [
                int(v) if name in COUNTED else "" if math.isnan(v) else repr(v)
                for name, v in zip(history, row, strict=True)
            ]
            for row in zip(*history.values(), strict=True)
        ),
    )


def csv_text(names: Iterable[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A table as text in UTF-8: a line of names, and one for each row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return out.getvalue().encode()


def facts(history: History, text: bytes) -> dict[str, Any]:
    """How much there is of a history whose text is given, and the SHA-256 of that.

    Later rows and columns are not part of it: a run that goes on writes its history first, and then
    the checkpoint that keeps these.
    """
    rows = len(next(iter(history.values()), ()))
    return {"rows": rows, "columns": len(history), "history": hashlib.sha256(text).hexdigest()}


def read_history(
    path: Path, known: Mapping[str, Any] | None, until_step: int | None = None
) -> History:
    """Read a history column by column, and hold it against what a checkpoint keeps.

    Args:
        path: The file.
        known: What :func:`facts` gave; None for a run from before it was kept.
        until_step: Leave out the rows after it.

    Raises:
        RunError: The file is missing, is not a table of numbers with steps, or not that of the
            checkpoint.
    """
    try:
        regular(path, MOST_BYTES)
        with path.open(newline="", encoding="utf-8") as file:
            names, *rows = csv.reader(file)
        if known and known["rows"]:
            width = known["columns"]
            text = csv_text(names[:width], (row[:width] for row in rows[: known["rows"]]))
            if hashlib.sha256(text).hexdigest() != known["history"]:
                raise RunError(
                    f"{path}: expected the history that the run's checkpoint was written with, got "
                    f"another: it is damaged, or was edited ({RESTORE})"
                )
        step = names.index("step")
        rows = [row for row in rows if until_step is None or int(row[step]) <= until_step]
        columns = list(zip(*rows, strict=True)) or [()] * len(names)
        return {
            name: [float(value) if value else math.nan for value in column]
            for name, column in zip(names, columns, strict=True)
        }
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror} ({RESTORE})") from error
    except (ValueError, LookupError, csv.Error) as error:
        raise RunError(
            f"{path}: expected a table of numbers with a row a step, got other text ({RESTORE})"
        ) from error
