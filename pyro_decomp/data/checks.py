"""What every reader of data checks, and the one sentence that it says; internal to ``data``."""

import math
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_decomp.errors import DataError

NOT_THERE = {"NAType", "NaTType"}  # what pandas has for None
REMEDY = (
    "leave those rows out, or fill them and give the programs a mask of what is known, as in "
    "data=(x, is_known)"
)


def without_mask(data: object, source: str) -> object:
    """Data without their mask, if no value is masked.

    Args:
        data: A masked array, as readers of netCDF, FITS and HDF return; rows of which some are
            masked arrays; an array of arrow; or anything else.
        source: What messages call it.

    Returns:
        ``data`` itself, or the array inside of a mask under which nothing is hidden.

    Raises:
        DataError: A value is masked or null.
    """
    if isinstance(data, list | tuple) and any(isinstance(x, np.ma.MaskedArray) for x in data):
        data = np.ma.asanyarray(data)
    nulls = getattr(data, "null_count", 0)
    if isinstance(nulls, int) and nulls:
        raise DataError(f"{source}: expected a value everywhere, got {nulls} null: {REMEDY}")
    if not isinstance(data, np.ma.MaskedArray):
        return data
    _refuse(np.ma.getmaskarray(data), source, "masked")
    return data.data


def numbers(array: NDArray[Any], source: str) -> NDArray[Any]:
    """An array of numbers, where it holds Python objects as mixed columns of a data frame do.

    Any other is given back as it is, without a mask if it has one.

    Returns:
        The array without a mask; Python's numbers as int64 or float64, anything else as it is.

    Raises:
        DataError: A value is masked, or is None, NA or NaT.
    """
    found: NDArray[Any] = np.asarray(without_mask(array, source))
    if found.dtype.kind != "O":
        return found
    values = found.ravel().tolist()
    is_missing = [value is None or type(value).__name__ in NOT_THERE for value in values]
    _refuse(np.array(is_missing, dtype=bool).reshape(found.shape), source, "missing (None or NA)")
    if not values or not all(isinstance(value, Real) for value in values):
        return found
    whole = all(isinstance(value, int | np.integer) for value in values)
    try:
        return np.array(values, dtype=np.int64 if whole else np.float64).reshape(found.shape)
    except OverflowError as error:
        raise DataError(
            f"{source}: expected whole numbers below 2**63, got a larger one"
        ) from error


def _refuse(mask: NDArray[np.bool_], source: str, what: str) -> None:
    if not mask.any():
        return
    first = ", ".join(map(str, np.argwhere(mask)[0]))
    raise DataError(
        f"{source}: expected a value everywhere, got {int(mask.sum())} of {mask.size} that are "
        f"{what}, the first of them at [{first}]: {REMEDY}"
    )


BLOCK_ELEMENTS = 2**22  # elements looked at at once
MAX_TOLD = 10  # columns that a message names
LARGE = 100.0  # of values, for networks whose weights are of order one


class Sliceable(Protocol):
    """Rows of which slices are tensors: a tensor, or data stored elsewhere."""

    @property
    def shape(self) -> torch.Size:
        """The number of rows, then the shape of one, as of a tensor."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the tensors that slices are."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


AnyRows = TypeVar("AnyRows", bound=Sliceable)


def blocks(rows: Sliceable) -> Iterator[Tensor]:
    """All rows in order, so many at a time that memory stays bounded."""
    size = max(1, BLOCK_ELEMENTS // max(1, rows.shape[1:].numel()))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def checked(
    rows: AnyRows,
    source: str,
    *,
    may_be_infinite: bool = True,
    names: Sequence[str] | None = None,
) -> AnyRows:
    """Check that rows can be trained on.

    Args:
        rows: Data along the first axis.
        source: What the message calls them.
        may_be_infinite: Look for NaN and infinity, a block at a time.
        names: Of the columns, if they have any.

    Returns:
        The rows as they are.

    Raises:
        DataError: They are a single number, none, or not finite.
    """
    if not rows.shape:
        raise DataError(f"{source}: expected a row for each datum, got a single number")
    if rows.shape.numel() == 0:
        raise DataError(f"{source}: expected at least one value, got shape {tuple(rows.shape)}")
    if not may_be_infinite:
        return rows
    bad, seen, first = 0, 0, 0
    in_column = torch.zeros(rows.shape[1:].numel(), dtype=torch.long)
    for block in blocks(rows):
        finite = block.isfinite().reshape(len(block), -1)
        if not finite.all():
            spoilt = ~finite.all(1)
            first = first if bad else seen + int(spoilt.nonzero()[0])
            bad += int(spoilt.sum())
            in_column += (~finite).sum(0).cpu()
        seen += len(block)
    if bad:
        raise DataError(
            f"{source}: expected finite numbers in {str(rows.dtype).removeprefix('torch.')}, "
            f"got NaN or infinity in {bad} of {len(rows)} rows, the first of them row {first}"
            f"{_where(in_column, rows.shape, names)}"
        )
    return rows


def check_finite(values: Tensor, source: str, rows: Sequence[int] | Tensor) -> None:
    """Check that some rows of data are finite.

    Raises:
        DataError: A value is NaN or infinite; the first is named by row and column.
    """
    spoilt = ~values.isfinite()
    if not spoilt.any():
        return
    first = tuple(spoilt.nonzero()[0].tolist())
    where = f"row {int(rows[first[0]])}"
    if values.dim() > 1:
        inner = int(spoilt[first[0]].reshape(-1).nonzero()[0])
        where += f", column {column_label(inner, values.shape[1:])}"
    raise DataError(
        f"{source}: expected finite numbers, got {values[first].item()} in {where}: {REMEDY}"
    )


def large_columns(rows: Tensor) -> str:
    """A clause on values that are large for a network: the widest column, and a remedy.

    Returns:
        A clause; empty where all values are within 100, or are no measurements.

    Returns:
        The clause; empty where all values are within 100, or are no measurements.
    """
    if not rows.is_floating_point() or not rows.numel() or not rows.isfinite().all():
        return ""
    flat = rows.detach().reshape(len(rows), -1)
    column = int(flat.abs().amax(0).argmax())
    low, high = float(flat[:, column].min()), float(flat[:, column].max())
    if max(-low, high) <= LARGE:
        return ""
    where = f"column {column_label(column, rows.shape[1:])}" if rows.dim() > 1 else "x"
    remedy = "standardise the data, as (x - x.mean(0)) / x.std(0) does"
    if bool((flat >= 0).all()) and bool((flat == flat.round()).all()):
        remedy = "let the encoder see x.log1p(), or scale the data"
    return f"{where} of the batch ranges from {low:.4g} to {high:.4g}: {remedy}"


def column_label(index: int, shape: Sequence[int], names: Sequence[str] | None = None) -> str:
    """The name of one of the values of a datum in messages, or its place counted from 0."""
    if names is not None and len(names) == math.prod(shape):
        return repr(names[index])
    place = []
    for size in reversed(shape):
        index, inner = divmod(index, size)
        place.append(inner)
    return str(place[0]) if len(place) == 1 else f"[{', '.join(map(str, reversed(place)))}]"


def column_labels(
    columns: Sequence[int], shape: Sequence[int], names: Sequence[str] | None = None
) -> str:
    """The names of several columns in messages, of which no more than ten are told."""
    shown = ", ".join(column_label(index, shape, names) for index in columns[:MAX_TOLD])
    more = f" and {len(columns) - MAX_TOLD} more" if len(columns) > MAX_TOLD else ""
    return f"column{'' if len(columns) == 1 else 's'} {shown}{more}"


def _where(in_column: Tensor, shape: Sequence[int], names: Sequence[str] | None) -> str:
    """In which columns values are not finite, and what makes a whole column so."""
    if len(shape) == 1:
        return f": {REMEDY}"
    some = in_column.nonzero().flatten().tolist()
    entire = (in_column == shape[0]).nonzero().flatten().tolist()
    if len(entire) == len(in_column) or not entire or shape[0] == 1:
        return f", in {column_labels(some, shape[1:], names)}: {REMEDY}"
    others = [index for index in some if in_column[index] < shape[0]]
    also = f"; others are in {column_labels(others, shape[1:], names)}" if others else ""
    return (
        f": {column_labels(entire, shape[1:], names)} {'is' if len(entire) == 1 else 'are'} so in "
        "every row, as a constant column is once it is divided by its standard deviation of 0 "
        f"(leave constant columns out, or divide by 1 where data.std(0) is 0){also}"
    )
