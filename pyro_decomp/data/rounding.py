"""What columns of numbers would lose in a type of fewer digits; internal to ``data``."""

import warnings
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pyro_decomp.data.checks import Sliceable, blocks, column_labels
from pyro_decomp.errors import DataError

TOLERATED = 1e-4  # of a column's standard deviation, by which its values may be rounded
EXACT = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16}


def default_type() -> torch.dtype:
    """The type that data become: torch's default type, but float32 at least."""
    return torch.promote_types(torch.get_default_dtype(), torch.float32)


def as_floats(
    values: Tensor, source: str = "data", names: Sequence[str] | None = None
) -> Float[Tensor, "data ..."]:
    """Numbers in the default type, or in float64 with a warning where that would spoil a column.

    Raises:
        DataError: Whole numbers are so large that float64 takes some of them for their neighbours.
    """
    dtype = default_type()
    if values.dim() == 0 or values.dtype in EXACT or values.dtype == dtype:
        return values.to(dtype)
    wide = values.double()
    if not values.is_floating_point() and not torch.equal(wide.to(values.dtype), values):
        larger = _flat(wide.to(values.dtype) != values).any(0).nonzero().flatten().tolist()
        raise DataError(
            f"{source}: expected whole numbers of at most 2**53, which a float64 keeps apart, got "
            f"larger ones in {column_labels(larger, values.shape[1:], names)}: leave that out"
        )
    spoilt = spoilt_columns(values, dtype)
    if not spoilt:
        return values.to(dtype)
    warnings.warn(f"{source}: {told(spoilt, values, names, dtype)}", stacklevel=3)
    return wide


def told(
    spoilt: Sequence[int], rows: Sliceable, names: Sequence[str] | None, dtype: torch.dtype
) -> str:
    """One sentence about columns that a narrower type would spoil, and what may be done."""
    return (
        f"{str(dtype).removeprefix('torch.')} would take different values of "
        f"{column_labels(spoilt, rows.shape[1:], names)} for equal ones, so that all is kept in "
        "float64: subtract the mean, as in data - data.mean(0), before training in fewer digits, "
        "or leave out what is only a number by which to call a row"
    )


def spoilt_columns(rows: Sliceable, dtype: torch.dtype) -> list[int]:
    """The columns that lose more than rounding does to a measurement, flattened.

    Those of whole numbers of which some would become equal, and those whose values would be moved
    by more than a ten-thousandth of their standard deviation. Those that are constant but for
    float64's own rounding, or beyond what ``dtype`` can hold, are not among them.
    """
    error = _largest_error(rows, dtype)
    if not bool((error > 0).any()):
        return []
    count, first = len(rows), _flat(rows[:1]).double()
    total, square = torch.zeros_like(error), torch.zeros_like(error)
    is_whole = torch.ones_like(error, dtype=torch.bool)
    for block in _wide(rows):
        total += (block - first).sum(0)
        square += (block - first).square().sum(0)
        is_whole &= (block == block.round()).all(0)
    scale = (square / count - (total / count).square()).clamp_min(0.0).sqrt()
    resolved = torch.finfo(torch.float64).eps * first[0].abs() < TOLERATED * scale
    moved = resolved & (error > TOLERATED * scale)
    doubtful = is_whole & (error > 0) & ~moved & error.isfinite()
    merged = _merged(rows, doubtful, dtype)
    return (error.isfinite() & (moved | merged)).nonzero().flatten().tolist()


def _merged(rows: Sliceable, columns: Bool[Tensor, " k"], dtype: torch.dtype) -> Bool[Tensor, " k"]:
    """Which of some columns have different values that become equal."""
    merged = torch.zeros_like(columns)
    for index in columns.nonzero().flatten().tolist():
        values = torch.cat([block[:, index] for block in _wide(rows)]).unique()
        merged[index] = len(values.to(dtype).unique()) < len(values)
    return merged


def _largest_error(rows: Sliceable, dtype: torch.dtype) -> Float[Tensor, " k"]:
    largest = torch.zeros(rows.shape[1:].numel(), dtype=torch.float64)
    for block in _wide(rows):
        largest = torch.maximum(largest, (block - block.to(dtype).double()).abs().amax(0))
    return largest


def _wide(rows: Sliceable) -> Iterator[Float[Tensor, "n k"]]:
    return (_flat(block).double() for block in blocks(rows))


def _flat(block: Tensor) -> Tensor:
    return block.detach().cpu().reshape(len(block), -1)
