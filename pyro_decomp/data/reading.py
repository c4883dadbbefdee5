"""Data in whatever form they are given: one tensor, or the several of an experiment."""

import os
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from pyro_decomp import arguments
from pyro_decomp.data.batches import Data
from pyro_decomp.data.checks import checked, numbers, without_mask
from pyro_decomp.data.files import is_table, read_array, read_table
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.data.images import image_folder
from pyro_decomp.data.readable import is_file, is_folder
from pyro_decomp.data.rounding import as_floats
from pyro_decomp.data.stored import Stored, memory_mapped
from pyro_decomp.data.tables import Columns
from pyro_decomp.errors import DataError


def as_tensor(
    data: object,
    *,
    key: str | None = None,
    columns: Columns | None = None,
    header: bool | None = None,
) -> Float[Tensor, "data ..."]:
    """Data as one contiguous floating-point tensor whose first axis is the data.

    Numbers are read in full and then become torch's default type, float32 unless
    ``torch.set_default_dtype`` says otherwise. A float64 *tensor* stays float64, and so, with a
    warning that names the column, does what float32 would spoil: whole numbers that it takes for
    one another, and columns whose differences it rounds by more than a ten-thousandth of their
    standard deviation, such as seconds since 1970. Values are never rescaled: bytes in an array
    come out in [0, 255]. Memory is shared with ``data`` where nothing had to change.

    Args:
        data: A tensor; an array, or what numpy makes into one, such as nested lists; a table with
            ``to_numpy()``, as pandas has; a map-style torch ``Dataset``, whose items are ``x`` or
            ``(x, ...)`` and are read once, without their labels; the path of a folder of images of
            one size, as :func:`image_folder` reads it; or the path of a file:

            - ``.npy``;
            - ``.npz`` with one array, or several of which ``key`` chooses;
            - ``.csv`` with commas and an optional header, which is a first line without a number or
              with a word above a number; numbers in even steps that are like no other line, such as
              wavelengths or years, are taken as a header with a warning;
            - ``.parquet``.
        key: Which array of a ``.npz`` file.
        columns: Which columns of a table in a file, by name or by position from 0; all by default,
            but for a first column without a name that numbers the rows, which is left out with a
            warning. A column with a name that merely counts stays, with a warning.
        header: Whether the first line of a ``.csv`` file names the columns, which is then not
            judged by its contents.

    Returns:
        The tensor, contiguous, of shape ``[data, ...]``.

    Raises:
        DataError: The data is missing, damaged, empty, ragged, a single number, not numbers, masked
            in part, or has a NaN or an infinity; the message says which, and where.

    >>> as_tensor([[1, 2], [3, 4]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    with arguments.raised_as(DataError):
        arguments.annotated(as_tensor, locals())
    return read_tensor(data, key=key, columns=columns, header=header)


def read_tensor(
    data: object,
    source: str = "data",
    *,
    key: str | None = None,
    columns: Columns | None = None,
    header: bool | None = None,
    without: Columns = (),
    keep_integers: bool = False,
) -> Tensor:
    """Do what :func:`as_tensor` does, with the options that only readers of this package need.

    Args:
        data: What to read.
        source: What messages call it, unless it is a path.
        key: Which array of a ``.npz`` file.
        columns: Which columns of a table in a file.
        header: Whether a ``.csv`` file has one.
        without: Columns of a table that are not among "all".
        keep_integers: Leave whole numbers and truth values of their type, as labels need.

    Returns:
        The tensor, contiguous, of shape ``[data, ...]``.

    Raises:
        DataError: As for :func:`as_tensor`.
    """
    names: Sequence[str] | None = None
    if isinstance(data, str | PathLike):
        if not os.fspath(data):
            raise DataError(f"{source}: expected a path, got ''")
        source = str(data)
        path = Path(data)
        if is_folder(path) and key is None and columns is None:
            values = image_folder(path)
        elif is_table(path) and key is None:
            table = read_table(path, columns, has_header=header, without=without)
            if columns is None:
                table.warn_of_counts(source)
            values, names = _from_array(table.values, source), table.names
        elif columns is not None or header is not None:
            what = f"columns: expected None for a {path.suffix} file, got {columns!r}"
            raise DataError(what if columns is not None else f"header: expected None for {path}")
        else:
            values = _from_array(read_array(path, key=key), source)
        is_wide = False
    elif key is not None or columns is not None or header is not None:
        raise DataError(f"{source}: expected a path with key or columns, got {type(data).__name__}")
    elif isinstance(data, TensorDataset):
        values, is_wide = data.tensors[0], True
    elif isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        values, is_wide = _from_dataset(data, source), False
    else:
        values, is_wide = _from_value(data, source), isinstance(data, Tensor)
        names = _names(data)
    _check_kind(values, source)
    if not (keep_integers and not values.is_floating_point()):
        is_kept = is_wide and values.dtype == torch.float64
        values = values if is_kept else as_floats(values, source, names)
    return checked(values.detach().contiguous(), source, names=names)


def _check_kind(values: Tensor, source: str) -> None:
    """Check that these are real numbers, one after the other in memory."""
    if values.is_complex() or values.is_quantized:
        raise DataError(f"{source}: expected real numbers, got values of type {values.dtype}")
    if values.is_meta or values.layout != torch.strided:
        got = "one on the device meta" if values.is_meta else f"one of the layout {values.layout}"
        raise DataError(f"{source}: expected a dense tensor in memory, got {got}")


def _names(table: object) -> list[str] | None:
    """The names of the columns of a table of pandas, polars or arrow; None for anything else."""
    found = getattr(table, "column_names", getattr(table, "columns", None))
    return None if found is None else [str(name) for name in found]


def _from_dataset(data: Dataset[Any], source: str) -> Tensor:
    size = len(data)  # type: ignore[arg-type]
    if size == 0:
        raise DataError(f"{source}: expected at least one datum, got an empty data set")
    stacked = torch.empty(0)
    for index in range(size):
        source = f"item {index} of the data set"
        item = data[index]
        value = _from_value(item[0] if isinstance(item, tuple) else item, source)
        _check_kind(value, source)
        if index == 0:
            stacked = torch.empty(size, *value.shape, dtype=value.dtype)
        if value.shape != stacked.shape[1:]:
            expected = tuple(stacked.shape[1:])
            raise DataError(f"{source}: expected shape {expected}, got {tuple(value.shape)}")
        if value.dtype != stacked.dtype:
            stacked = stacked.to(torch.promote_types(stacked.dtype, value.dtype))
        stacked[index] = value.detach()
    return checked(stacked, "data", may_be_infinite=False)


def _from_value(data: object, source: str) -> Tensor:
    """A tensor of what is given, of the type that it has."""
    if isinstance(data, Tensor):
        return data
    if isinstance(data, list | tuple) and data and all(isinstance(row, Tensor) for row in data):
        shapes = {tuple(row.shape) for row in data}
        if len(shapes) > 1:
            raise DataError(f"{source}: expected rows of one shape, got {sorted(shapes)}")
        return torch.stack(data)
    data = without_mask(data, source)
    to_numpy = getattr(data, "to_numpy", None)
    try:
        array = np.asarray(without_mask(to_numpy() if callable(to_numpy) else data, source))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{source}: expected rows of one shape, got a ragged list") from error
    if array.ndim == 0 and array.dtype == object:
        raise DataError(
            f"{source}: expected a tensor, an array, a map-style Dataset or a path, "
            f"got {type(data).__name__}"
        )
    return _from_array(array, source)


def _from_array(array: NDArray[Any], source: str) -> Tensor:
    array = numbers(array, source)
    if array.dtype.kind not in "biuf":
        raise DataError(f"{source}: expected real numbers, got values of type {array.dtype}")
    dtype = array.dtype.newbyteorder("=")
    if dtype.kind == "f" and dtype.itemsize > np.dtype(np.float64).itemsize:
        dtype = np.dtype(np.float64)
    if dtype.kind == "u" and dtype.itemsize > 1:  # torch hardly knows these
        if array.size and int(array.max()) > np.iinfo(np.int64).max:
            raise DataError(f"{source}: expected whole numbers below 2**63, got {array.max()}")
        dtype = np.dtype(np.int64)
    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))


MAPPED_BYTES = 2**30  # a .npy file of this size or more is not read into memory


def as_data(data: object, source: str = "data") -> Data:
    """Data of one tensor or several, checked.

    Args:
        data: One of these, or a tuple of several of equal length, of which the first is x:

            - whatever :func:`as_tensor` takes; beside x, whole numbers and truth values keep their
              type, as labels and masks need;
            - the path of a ``.npy`` file of 1 GiB or more, which stays on disk: see
              :func:`memory_mapped`;
            - :class:`Stored` data, whatever they are, taken at their word;
            - a :class:`GroundTruth`, whose images are drawn as they are needed.
        source: What messages call it, unless it is a path.

    Returns:
        The data set; where ``data`` is one already, itself.

    Raises:
        DataError: As for :func:`as_tensor`, or the lengths of several differ.

    >>> as_data(([[1, 2], [3, 4]], [0, 9]))[:1]
    (tensor([[1., 2.]]), tensor([0]))
    """
    with arguments.raised_as(DataError):
        arguments.text(source=source)
    if isinstance(data, Data):
        return data
    if not isinstance(data, tuple):
        return Data((_read(data, source),))
    first = [_read(value, f"{source}[0]") for value in data[:1]]
    others = [
        _read(value, f"{source}[{index}]", keep_integers=True)
        for index, value in enumerate(data[1:], start=1)
    ]
    return Data((*first, *others))


def _read(value: object, source: str, *, keep_integers: bool = False) -> Tensor | Stored:
    if isinstance(value, Stored):
        return value
    if isinstance(value, GroundTruth):
        return value.stored()
    if isinstance(value, str | PathLike):
        path = Path(value)
        is_large = path.suffix.lower() == ".npy" and is_file(path)
        if is_large and path.stat().st_size >= MAPPED_BYTES:
            return memory_mapped(path)
    return read_tensor(value, source, keep_integers=keep_integers)
