"""What every reader of data checks, and the one sentence that it says."""

import csv
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from pyro_decomp.errors import DataError

BLOCK_ELEMENTS = 2**22  # elements looked at at once

_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    csv.Error,
)


class Sliceable(Protocol):
    """Rows that a slice makes a tensor of: a tensor, or what is stored elsewhere."""

    @property
    def shape(self) -> torch.Size:
        """As of a tensor."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the tensors that slices are."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Tensor: ...


AnyRows = TypeVar("AnyRows", bound=Sliceable)


def blocks(rows: Sliceable) -> Iterator[Tensor]:
    """All rows in order, so many at a time that memory stays bounded."""
    size = max(1, BLOCK_ELEMENTS // max(1, rows.shape[1:].numel()))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def checked(rows: AnyRows, source: str, *, may_be_infinite: bool = True) -> AnyRows:
    """The rows as they are, if they can be trained on.

    Args:
        rows: Data along the first axis.
        source: What the message calls them.
        may_be_infinite: Look for NaN and infinity, a block at a time.

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
    for block in blocks(rows):
        finite = block.isfinite()
        if not finite.all():
            spoilt = ~finite.flatten(start_dim=1).all(1) if block.dim() > 1 else ~finite
            first = first if bad else seen + int(spoilt.nonzero()[0])
            bad += int(spoilt.sum())
        seen += len(block)
    if bad:
        raise DataError(
            f"{source}: expected finite numbers in {str(rows.dtype).removeprefix('torch.')}, "
            f"got NaN or infinity in {bad} of {len(rows)} rows, the first of them row {first}"
        )
    return rows


@contextmanager
def refuse_unreadable(path: Path) -> Iterator[None]:
    """Turn whatever a damaged or missing file raises into one sentence.

    Raises:
        DataError: The file is missing, or what is done inside failed.
    """
    if not path.is_file():
        raise DataError(f"{path}: expected an existing file, got no such file")
    try:
        yield
    except DataError:
        raise
    except _UNREADABLE as error:
        kind = path.suffix.lower()
        reason = str(error).split("\n", maxsplit=1)[0] or type(error).__name__
        raise DataError(f"{path}: expected a readable {kind} file, got: {reason}") from error
