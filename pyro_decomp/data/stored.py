"""Data that become floating-point tensors a batch at a time, because all at once are too many."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from copy import copy
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.checks import blocks, checked, numbers
from pyro_decomp.data.readable import check_array, refuse_unreadable
from pyro_decomp.data.rounding import default_type, spoilt_columns, told
from pyro_decomp.errors import DataError

Rows = Tensor | slice
"""Which rows: whole numbers from 0, ``[n]``, or a slice."""


class Stored(ABC):
    """Data kept elsewhere than in one floating-point tensor, and read a batch at a time.

    Indexed along its first axis like a tensor, by a number, a slice or a tensor of whole numbers,
    and each time a new tensor comes out. A subclass supplies :meth:`read`; it may read a file,
    unpack bits or draw the rows on the spot.

    Args:
        shape: As of a tensor: the number of data, then the shape of one.
        dtype: Of the tensors that come out; torch's default type, but float32 at least, by
            default.

    Attributes:
        shape: As given.
        dtype: Of the tensors that come out.
        device: Where the tensors that come out are; what is stored stays where it is.
        is_finite: Whether all values are known to be finite numbers; others are looked at as they
            are first trained on.
    """

    is_finite = False

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> None:
        self.shape = torch.Size(shape)
        self.dtype = default_type() if dtype is None else dtype
        self.device = torch.device("cpu")

    @abstractmethod
    def read(self, rows: Rows) -> Tensor:
        """Read some rows, in the order asked for, on the CPU, where a tensor of indices is too."""

    def telling(self) -> Iterator[Tensor]:
        """Yield tensors that tell these data from others, by which a resumed run knows its own.

        All of the data, a block at a time, unless a subclass knows better.
        """
        return blocks(self)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows | int) -> Tensor:
        if isinstance(rows, int):
            return self[rows : rows + 1 or None][0]
        if isinstance(rows, Tensor):
            rows = rows.cpu()
        return self.read(rows).to(self.device, self.dtype)

    def to(self, device: torch.device | str) -> Self:
        """The same data, whose tensors come out on another device.

        Returns:
            A shallow copy; what is stored stays where it is.
        """
        moved = copy(self)
        moved.device = torch.device(device)
        return moved

    def astype(self, dtype: torch.dtype) -> Self:
        """The same data, whose tensors come out in another type.

        Returns:
            A shallow copy; what is stored keeps its type.
        """
        converted = copy(self)
        converted.dtype = dtype
        return converted


class StoredArray(Stored):
    """An array in its own type, in memory or on disk, whose batches are of torch's default type.

    Bytes take a quarter of the memory of the float32 that they become. Where float32 would spoil a
    column, batches are float64, as :func:`as_tensor` does it, with a warning.

    Args:
        array: Real numbers; the first axis is the data.
        divisor: What every value is divided by: 255 takes images of bytes to [0, 1].
        source: What messages call it.

    Raises:
        DataError: The array is empty, a single number, not numbers, masked in part, or has a NaN or
            an infinity.

    >>> images = StoredArray(np.array([[0, 255], [7, 8]], dtype=np.uint8))
    >>> images[torch.tensor([1, 0, 1])]
    tensor([[  7.,   8.],
            [  0., 255.],
            [  7.,   8.]])
    """

    def __init__(self, array: NDArray[Any], *, divisor: float = 1.0, source: str = "data") -> None:
        with arguments.raised_as(DataError):
            arguments.text(source=source)
        array = numbers(array, source)
        if array.dtype.kind not in "biuf":
            raise DataError(f"{source}: expected real numbers, got values of type {array.dtype}")
        super().__init__(array.shape)
        with arguments.raised_as(DataError):
            arguments.number("(-inf, inf)", divisor=divisor)
            if divisor == 0:
                arguments.refuse("divisor", "a finite number other than 0", divisor)
        self._array = np.asarray(array)
        self._divisor = divisor
        checked(self, source, may_be_infinite=array.dtype.kind == "f")
        self.is_finite = True
        narrow, self.dtype = self.dtype, torch.float64
        is_short = array.dtype.itemsize <= np.dtype(np.float32).itemsize // (
            1 if array.dtype.kind == "f" else 2
        )
        spoilt = [] if is_short or narrow == torch.float64 else spoilt_columns(self, narrow)
        if spoilt:
            warnings.warn(f"{source}: {told(spoilt, self, None, narrow)}", stacklevel=2)
        else:
            self.dtype = narrow

    def read(self, rows: Rows) -> Tensor:
        """Copy these rows into a tensor, divided by the divisor."""
        some = self._array[rows.numpy() if isinstance(rows, Tensor) else rows]
        wide = np.float64 if self.dtype == torch.float64 else np.float32
        with np.errstate(over="ignore"):
            tensor = torch.from_numpy(np.require(some, wide, ["C", "W"]))
        return tensor if self._divisor == 1.0 else tensor / self._divisor


def memory_mapped(path: str | PathLike[str], *, divisor: float = 1.0) -> StoredArray:
    """A ``.npy`` file as data, of which only the batches in use are in memory.

    An experiment maps a path of 1 GiB or more by itself; this does so at any size. The file must
    stay as it is while it is in use.

    Args:
        path: A ``.npy`` file.
        divisor: What every value is divided by: 255 takes images of bytes to [0, 1].

    Returns:
        Data to be given to an experiment; a batch is read from disk when it is asked for.

    Raises:
        DataError: The file is missing or damaged, or its array cannot be used; all of it is read
            once, a block at a time, to find NaN and infinity.
    """
    with arguments.raised_as(DataError):
        arguments.annotated(memory_mapped, locals())
    path = Path(path)
    if path.suffix.lower() != ".npy":
        raise DataError(f"{path}: expected a .npy file to be mapped, got {path.suffix!r}")
    with refuse_unreadable(path):
        with path.open("rb") as file:
            check_array(path, file, path.stat().st_size, mapped=True)
        array = np.lib.format.open_memmap(path, mode="r")
    return StoredArray(array, divisor=divisor, source=str(path))
