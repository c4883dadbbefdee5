"""Ground-truth factors of a user's own data: whole numbers, one column a factor."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.batches import Data
from pyro_decomp.data.files import is_table, npz_keys, read_table, table_columns
from pyro_decomp.data.reading import as_data, as_tensor, read_tensor
from pyro_decomp.data.tables import Columns, positions
from pyro_decomp.errors import DataError, ExperimentError


def as_factors(
    factors: object, names: Sequence[str] | None = None, *, source: str = "factors"
) -> tuple[Int[Tensor, "data factors"], tuple[str, ...]]:
    """Factors as one tensor of int64, and the name of each.

    Args:
        factors: Whole numbers in anything that :func:`as_tensor` takes, one row a datum; a single
            factor may be without its second axis.
        names: One a factor; by default those of the table's columns if it has any, or else
            ``factor 0`` and so on.
        source: What messages call them.

    Returns:
        The factors, a row a datum, and their names.

    Raises:
        DataError: They cannot be read, are not whole numbers, or have other names than columns.

    >>> as_factors([3, 1, 2], ["shape"])
    (tensor([[3],
            [1],
            [2]]), ('shape',))
    """
    found: list[str] | None
    if isinstance(factors, str | PathLike) and is_table(Path(factors)):
        table = read_table(Path(factors))
        found, values = table.names, torch.from_numpy(table.values)
    else:
        columns = getattr(factors, "columns", None)
        found = None if columns is None else [str(name) for name in columns]
        values = read_tensor(factors, source, keep_integers=True)
    if values.dim() == 1:
        values = values[:, None]
    if values.dim() != 2:
        raise DataError(
            f"{source}: expected a column for each factor, got shape {tuple(values.shape)}"
        )
    with arguments.raised_as(DataError):
        arguments.items(str, "names of factors", factor_names=names or ())
        if len(set(names or ())) < len(names or ()):
            arguments.refuse("factor_names", "a name of its own for each factor", list(names or ()))
    chosen = tuple(names or found or (f"factor {k}" for k in range(values.shape[1])))
    if len(chosen) != values.shape[1]:
        raise DataError(
            f"factor_names: expected a name for each of {values.shape[1]} factors, got "
            f"{len(chosen)}: {', '.join(chosen)}"
        )
    return _whole(values, chosen, source), chosen


def read_with_factors(
    path: str | PathLike[str],
    factors: Columns,
    *,
    columns: Columns | None = None,
    key: str | None = None,
    header: bool | None = None,
) -> tuple[Float[Tensor, "data ..."], Int[Tensor, "data factors"]]:
    """Data and their ground-truth factors from one file.

    Args:
        path: A ``.csv`` or ``.parquet`` table, or a ``.npz`` file.
        factors: Columns of the table, by name or by position from 0; or keys of the ``.npz`` file,
            each an array with one or several factors.
        columns: The table's columns that are data; by default all that are neither factors nor the
            numbers of the rows.
        key: The array of the ``.npz`` file that is data; needed only if more than one is left.
        header: Whether the first line of a ``.csv`` file names the columns; see :func:`as_tensor`.

    Returns:
        The data as :func:`as_tensor` gives them, and the factors as int64, in the order asked for.

    Raises:
        DataError: The file cannot be read, does not hold what was asked for, or the factors are not
            whole numbers.
    """
    with arguments.raised_as(DataError):
        arguments.annotated(read_with_factors, locals())
    path = Path(path)
    if not factors:
        raise DataError(f"{path}: expected at least one factor to be named, got none")
    if path.suffix.lower() == ".npz":
        return _from_npz(path, [str(name) for name in factors], key)
    header_names, width = table_columns(path, has_header=header)
    chosen = positions(path, factors, header_names, width)
    if len({*chosen}) == width and columns is None:
        raise DataError(f"{path}: expected a column of data beside the factors, got none")
    values = torch.from_numpy(read_table(path, chosen, has_header=header).values)
    found = as_factors(values, [str(name) for name in factors], source=str(path))[0]
    return read_tensor(path, columns=columns, header=header, without=factors), found


def _from_npz(path: Path, factors: list[str], key: str | None) -> tuple[Tensor, Tensor]:
    left = [name for name in npz_keys(path) if name not in factors]
    if key is None and len(left) != 1:
        raise DataError(
            f"{path}: expected one array beside the factors, or a key to choose by, "
            f"got keys: {', '.join(left) or 'none'}"
        )
    x = as_tensor(path, key=left[0] if key is None else key)
    parts = []
    for name in factors:
        array = read_tensor(path, key=name, keep_integers=True)
        parts.append(as_factors(array, source=f"{path}, {name}")[0])
    lengths = [len(x), *map(len, parts)]
    if len(set(lengths)) > 1:
        raise DataError(f"{path}: expected arrays of one length, got lengths {lengths}")
    return x, torch.cat(parts, dim=1)


def _whole(values: Tensor, names: Sequence[str], source: str) -> Tensor:
    whole = values.long()
    if (different := whole != values).any():
        row, k = different.nonzero()[0].tolist()
        raise DataError(
            f"{source}: expected whole numbers, got {values[row, k].item():.6g} for {names[k]} in "
            f"row {row}"
        )
    return whole


class Splits(NamedTuple):
    """The data that an experiment trains on and is evaluated on, with their factors.

    Attributes:
        data: To train on.
        test_data: Held out, with tensors of the same shapes; None if there are none.
        factors: Of the data, int64; None if none are known.
        test_factors: Of the test data.
        factor_names: One for each factor.
    """

    data: Data
    test_data: Data | None
    factors: Int[Tensor, "data factors"] | None
    test_factors: Int[Tensor, "test_data factors"] | None
    factor_names: tuple[str, ...] | None


def read_splits(
    data: Any,
    test_data: Any = None,
    factors: Any = None,
    test_factors: Any = None,
    factor_names: Sequence[str] | None = None,
) -> Splits:
    """Read and check the data and factors that an :class:`~pyro_decomp.Experiment` is given.

    Raises:
        DataError: Something cannot be read or used.
        ExperimentError: What is given does not fit together.
    """
    if _are_columns(factors):
        columns = list(factors)
        data, factors = _columns_of("data", data, columns)
        if test_data is not None and test_factors is None:
            test_data, test_factors = _columns_of("test_data", test_data, columns)
        factor_names = factor_names or columns
    train = as_data(data)
    test = None if test_data is None else as_data(test_data, "test_data")
    if test is not None and test.shapes != train.shapes:
        raise ExperimentError(
            f"test_data: expected data of shape {_shapes(train)} like the training data, "
            f"got {_shapes(test)}"
        )
    if factors is None:
        for name, value in (("test_factors", test_factors), ("factor_names", factor_names)):
            if value is not None:
                raise ExperimentError(f"{name}: expected factors too, got none")
        return Splits(train, test, None, None, None)
    values, names = as_factors(factors, factor_names)
    _check_length("factors", values, "data", train)
    if test_factors is None:
        return Splits(train, test, values, None, names)
    test_values, _ = as_factors(test_factors, names, source="test_factors")
    _check_length("test_factors", test_values, "test_data", test)
    return Splits(train, test, values, test_values, names)


def _are_columns(factors: Any) -> bool:
    is_sequence = isinstance(factors, list | tuple)
    return is_sequence and bool(factors) and all(isinstance(name, str) for name in factors)


def _columns_of(name: str, path: Any, columns: list[str]) -> tuple[Tensor, Tensor]:
    if not isinstance(path, str | PathLike):
        raise ExperimentError(
            f"factors: expected {name} to be the path of a table or .npz file with "
            f"{', '.join(columns)}, got {type(path).__name__}"
        )
    return read_with_factors(path, columns)


def _shapes(data: Data) -> str:
    return ", ".join(map(str, data.shapes))


def _check_length(name: str, factors: Tensor, data_name: str, data: Data | None) -> None:
    if data is None:
        raise ExperimentError(f"{name}: expected {data_name} too, got none")
    if len(factors) != len(data):
        raise ExperimentError(
            f"{name}: expected a row for each of the {len(data)} {data_name}, got {len(factors)}"
        )
