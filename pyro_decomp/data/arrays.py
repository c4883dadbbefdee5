"""A user's own data, whatever it comes in, as one tensor."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from pyro_decomp.data.checks import checked
from pyro_decomp.data.files import read_array
from pyro_decomp.data.image_folder import image_folder
from pyro_decomp.data.tables import Columns
from pyro_decomp.errors import DataError


def as_tensor(
    data: object, *, key: str | None = None, columns: Columns | None = None
) -> Float[Tensor, "data ..."]:
    """Data as one contiguous floating-point tensor whose first axis is the data.

    A float64 *tensor* stays float64; everything else becomes float32. Values are never rescaled:
    bytes in an array come out in [0, 255]. Memory is shared with ``data`` where nothing had to
    change.

    Args:
        data: A tensor; an array, or what numpy makes into one, such as nested lists; a table with
            ``to_numpy()``, as pandas has; a map-style torch ``Dataset``, whose items are ``x`` or
            ``(x, ...)`` and are read once, without their labels; the path of a folder of images of
            one size, as :func:`image_folder` reads it; or the path of a file:

            - ``.npy``;
            - ``.npz`` with one array, or several of which ``key`` chooses;
            - ``.csv`` with commas and an optional header, which is a first line without a number;
            - ``.parquet``, if pyarrow is installed.
        key: Which array of a ``.npz`` file.
        columns: Which columns of a table in a file, by name or by position from 0; all by default.

    Raises:
        DataError: The data is missing, damaged, empty, ragged, a single number, not numbers, or
            has a NaN or an infinity; the message says which, and where.

    >>> as_tensor([[1, 2], [3, 4]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    return read_tensor(data, key=key, columns=columns)


def read_tensor(
    data: object,
    source: str = "data",
    *,
    key: str | None = None,
    columns: Columns | None = None,
    keep_integers: bool = False,
) -> Tensor:
    """As :func:`as_tensor`, for the readers of this package.

    Args:
        data: What to read.
        source: What messages call it, unless it is a path.
        key: Which array of a ``.npz`` file.
        columns: Which columns of a table in a file.
        keep_integers: Leave whole numbers and truth values of their type, as labels need.

    Raises:
        DataError: As for :func:`as_tensor`.
    """
    if isinstance(data, str | PathLike):
        source = str(data)
        tensor = _from_path(Path(data), key, columns, keep_integers)
    elif key is not None or columns is not None:
        raise DataError(f"{source}: expected a path with key or columns, got {type(data).__name__}")
    elif isinstance(data, TensorDataset):
        tensor = data.tensors[0]
    elif isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        tensor = _from_dataset(data, source)
    else:
        tensor = _from_value(data, source, keep_integers)
    return checked(_typed(tensor, source, keep_integers), source)


def _from_path(path: Path, key: str | None, columns: Columns | None, keep_integers: bool) -> Tensor:
    if path.is_dir() and key is None and columns is None:
        return image_folder(path)
    return _from_array(read_array(path, key=key, columns=columns), str(path), keep_integers)


def _from_dataset(data: Dataset[Any], source: str) -> Tensor:
    size = len(data)  # type: ignore[arg-type]
    if size == 0:
        raise DataError(f"{source}: expected at least one datum, got an empty data set")
    stacked = torch.empty(0)
    for index in range(size):
        source = f"item {index} of the data set"
        item = data[index]
        value = _from_value(item[0] if isinstance(item, tuple) else item, source)
        value = _typed(value, source)
        if index == 0:
            stacked = torch.empty(size, *value.shape, dtype=torch.float32)
        if value.shape != stacked.shape[1:]:
            expected = tuple(stacked.shape[1:])
            raise DataError(f"{source}: expected shape {expected}, got {tuple(value.shape)}")
        stacked[index] = value
    return stacked


def _from_value(data: object, source: str, keep_integers: bool = False) -> Tensor:
    if isinstance(data, Tensor):
        return data
    if isinstance(data, list | tuple) and data and all(isinstance(row, Tensor) for row in data):
        shapes = {tuple(row.shape) for row in data}
        if len(shapes) > 1:
            raise DataError(f"{source}: expected rows of one shape, got {sorted(shapes)}")
        rows = torch.stack([_typed(row, source, keep_integers) for row in data])
        return rows.float() if rows.is_floating_point() else rows
    to_numpy = getattr(data, "to_numpy", None)
    try:
        array = np.asarray(to_numpy() if callable(to_numpy) else data)
    except ValueError as error:
        raise DataError(f"{source}: expected rows of one shape, got a ragged list") from error
    if array.ndim == 0 and array.dtype == object:
        raise DataError(
            f"{source}: expected a tensor, an array, a map-style Dataset or a path, "
            f"got {type(data).__name__}"
        )
    return _from_array(array, source, keep_integers)


def _from_array(array: NDArray[Any], source: str, keep_integers: bool = False) -> Tensor:
    if array.dtype.kind not in "biuf":
        raise DataError(f"{source}: expected real numbers, got values of type {array.dtype}")
    dtype: np.dtype[Any] = np.dtype(np.float32)
    if keep_integers and array.dtype.kind != "f":
        is_wide = array.dtype.kind == "u" and array.dtype.itemsize > 1  # torch hardly knows these
        dtype = np.dtype(np.int64) if is_wide else array.dtype.newbyteorder("=")
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.require(array, dtype, ["C", "W"]))


def _typed(tensor: Tensor, source: str, keep_integers: bool = False) -> Tensor:
    if tensor.is_complex():
        raise DataError(f"{source}: expected real numbers, got values of type {tensor.dtype}")
    if keep_integers and not tensor.is_floating_point():
        return tensor.contiguous()
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return tensor.detach().to(dtype).contiguous()
