"""Training and test data with their ground-truth factors, read and checked together."""

from collections.abc import Sequence
from os import PathLike
from typing import Any, NamedTuple

from jaxtyping import Int
from torch import Tensor

from pyro_decomp.data.batches import Data
from pyro_decomp.data.factors import as_factors, read_with_factors
from pyro_decomp.data.reading import as_data
from pyro_decomp.errors import ExperimentError


class Splits(NamedTuple):
    """What an experiment trains on and is evaluated on.

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
    """Read what an :class:`~pyro_decomp.Experiment` is given; its arguments are these.

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
