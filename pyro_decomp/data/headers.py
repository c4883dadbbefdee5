"""Whether a table's first line names its columns, and which only number its rows; internal."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray

LOOKED_AT = 100  # lines below the first by which it is judged
MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "?", "."}  # no number, and no name either
UNNAMED = {"", "Unnamed: 0", "__index_level_0__"}
MIN_LONG = 5  # numbers in order that are hardly so by chance


def header(
    first: Sequence[str], below: Sequence[Sequence[str]], *, asked: bool | None = None
) -> tuple[list[str] | None, str]:
    """The names of the columns, None where the first line is data, and what is to be said of it.

    A first line is a header if it has no number in it, or a word above a number. One of numbers
    alone, such as wavelengths or years, is a header if they go up or down in even steps as no other
    line does and they are far from all that is below, many, or 0, 1, 2, ...; this is a judgement,
    so that it comes with a sentence.

    Args:
        first: Cells of the first line.
        below: Cells of the lines that follow, at most 100 of which are looked at.
        asked: What the user says.

    Returns:
        The names, or None; and a sentence for the user, empty where nothing is in doubt.
    """
    if asked is not None:
        return (list(first) if asked else None), ""
    if _has_words(first, below):
        return list(first), ""
    lines = [cells for cells in below[:LOOKED_AT] if len(cells) == len(first)]
    columns = [
        index
        for index, cell in enumerate(first)
        if is_number(cell) and all(is_number(cells[index]) for cells in lines)
    ]
    values = np.array([[float(cells[index]) for index in columns] for cells in lines])
    judged = _judged(np.array([float(first[index]) for index in columns]), values)
    shown = f"the first line, {', '.join(first[:3])}{', ...' if len(first) > 3 else ''},"
    said = {
        True: f"{shown} is taken as a header, as it is like no line below: header=False if not",
        False: "",
        None: f"{shown} is taken as data but may be a header: header=True if it is, else False",
    }
    return (list(first) if judged else None), said[judged]


def _has_words(first: Sequence[str], below: Sequence[Sequence[str]]) -> bool:
    """Whether a line names columns in words, or has the empty corner of R's and pandas' tables."""
    if first and not any(map(is_number, first)):
        return True
    if not below or len(below[0]) != len(first):
        return False
    above = [cell.strip() for cell, other in zip(first, below[0], strict=True) if is_number(other)]
    is_corner = not first[0].strip() and is_number(below[0][0])
    return is_corner or any(not is_number(c) and c.lower() not in MISSING for c in above)


def is_number(cell: str) -> bool:
    """Whether a cell is a number in plain digits, NaN and infinity included."""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.isascii() and "_" not in cell


def row_numbers(names: Sequence[str] | None, values: Float[NDArray[np.float64], "n k"]) -> bool:
    """Whether the first column has no name and distinct whole numbers: those of the rows."""
    if names is None or not len(values) or names[0].strip() not in UNNAMED:
        return False
    first = values[:, 0]
    return bool((first == np.round(first)).all()) and len(np.unique(first)) == len(first)


def counting(values: Float[NDArray[np.float64], "n k"]) -> Bool[NDArray[np.bool_], " k"]:
    """Which columns merely count the rows, from 0 or 1; none where there are too few to tell."""
    if len(values) <= 2:
        return np.zeros(values.shape[1], dtype=bool)
    steps = (np.diff(values, axis=0) == 1).all(0)
    found: NDArray[np.bool_] = steps & ((values[0] == 0) | (values[0] == 1))
    return found


def _judged(
    first: Float[NDArray[np.float64], " k"], below: Float[NDArray[np.float64], "n k"]
) -> bool | None:
    """Whether numbers are a header; None where they only may be one."""
    if len(below) <= 1 or len(first) <= 1 or not np.isfinite(first).all():
        return False
    steps = np.diff(first)
    if not ((steps > 0).all() or (steps < 0).all()):
        return False
    with np.errstate(invalid="ignore"):
        is_far = bool((np.abs(below - first).min(0) > 2 * np.ptp(below, axis=0)).all())
    alike = [np.allclose(np.diff(line), steps[0], rtol=1e-6, atol=0) for line in below]
    is_even = len(first) > 2 and np.allclose(steps, steps[0], rtol=1e-6, atol=0) and not all(alike)
    is_long = len(first) >= MIN_LONG
    is_count = first[0] in {0, 1} and steps[0] == 1
    if (is_far and (is_even or is_long)) or (is_even and (is_long or is_count) and not any(alike)):
        return True
    return None if is_far or (is_even and not any(alike)) else False
