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

from pyro_decomp.data.files import Columns, read_array
from pyro_decomp.errors import DataError


def as_tensor(
    data: object, *, key: str | None = None, columns: Columns | None = None
) -> Float[Tensor, "data ..."]:
    """Data as one contiguous floating-point tensor whose first axis is the data.

    A float64 *tensor* stays float64; everything else becomes float32. Values are never rescaled:
    images of unsigned bytes come out in [0, 255]. Memory is shared with ``data`` where nothing had
    to change.

    Args:
        data: A tensor; an array, or what numpy makes into one, such as nested lists; a table with
            ``to_numpy()``, as pandas has; a map-style torch ``Dataset``, whose items are ``x`` or
            ``(x, ...)`` and are read once, without their labels; or the path of a file:

            - ``.npy``;
            - ``.npz`` with one array, or several of which ``key`` chooses;
            - ``.csv`` with commas and an optional header, which is a first line without a number.
        key: Which array of a ``.npz`` file.
        columns: Which columns of a ``.csv`` file, by name or by position from 0; all by default.

    Raises:
        DataError: The data is missing, damaged, empty, ragged, a single number, not numbers, or
            has a NaN or an infinity; the message says which, and where.

    >>> as_tensor([[1, 2], [3, 4]])
    tensor([[1., 2.],
            [3., 4.]])
    """
    source = "data"
    if isinstance(data, str | PathLike):
        source = str(data)
        tensor = _from_array(read_array(Path(data), key=key, columns=columns), source)
    elif key is not None or columns is not None:
        raise DataError(f"data: expected a path with key or columns, got {type(data).__name__}")
    elif isinstance(data, TensorDataset):
        tensor = data.tensors[0]
    elif isinstance(data, Dataset) and not isinstance(data, IterableDataset):
        tensor = _from_dataset(data)
    else:
        tensor = _from_value(data, source)
    return _checked(_floating(tensor, source), source)


def _from_dataset(data: Dataset[Any]) -> Tensor:
    size = len(data)  # type: ignore[arg-type]
    if size == 0:
        raise DataError("data: expected at least one datum, got an empty data set")
    stacked = torch.empty(0)
    for index in range(size):
        source = f"item {index} of the data set"
        item = data[index]
        value = _from_value(item[0] if isinstance(item, tuple) else item, source)
        value = _floating(value, source)
        if index == 0:
            stacked = torch.empty(size, *value.shape)
        if value.shape != stacked.shape[1:]:
            expected = tuple(stacked.shape[1:])
            raise DataError(f"{source}: expected shape {expected}, got {tuple(value.shape)}")
        stacked[index] = value
    return stacked


def _from_value(data: object, source: str) -> Tensor:
    if isinstance(data, Tensor):
        return data
    if isinstance(data, list | tuple) and data and all(isinstance(row, Tensor) for row in data):
        shapes = {tuple(row.shape) for row in data}
        if len(shapes) > 1:
            raise DataError(f"{source}: expected rows of one shape, got {sorted(shapes)}")
        return torch.stack([_floating(row, source).float() for row in data])
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
    return _from_array(array, source)


def _from_array(array: NDArray[Any], source: str) -> Tensor:
    if array.dtype.kind not in "biuf":
        raise DataError(f"{source}: expected real numbers, got values of type {array.dtype}")
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.require(array, np.float32, ["C", "W"]))


def _floating(tensor: Tensor, source: str) -> Tensor:
    if tensor.is_complex():
        raise DataError(f"{source}: expected real numbers, got values of type {tensor.dtype}")
    dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
    return tensor.detach().to(dtype).contiguous()


def _checked(tensor: Tensor, source: str) -> Tensor:
    if tensor.dim() == 0:
        raise DataError(f"{source}: expected a row for each datum, got a single number")
    if tensor.numel() == 0:
        raise DataError(f"{source}: expected at least one value, got shape {tuple(tensor.shape)}")
    finite = tensor.isfinite()
    if not finite.all():
        bad = (~finite).flatten(start_dim=1).any(1) if tensor.dim() > 1 else ~finite
        raise DataError(
            f"{source}: expected finite numbers in {str(tensor.dtype).removeprefix('torch.')}, "
            f"got NaN or infinity in {int(bad.sum())} of {len(bad)} rows, "
            f"the first of them row {int(bad.nonzero()[0])}"
        )
    return tensor
