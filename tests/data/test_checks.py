from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from pyro_decomp.data import as_data, as_tensor
from pyro_decomp.data.checks import column_label
from pyro_decomp.data.stored import StoredArray
from pyro_decomp.errors import DataError


class NAType:
    """As pandas has it: comparisons with it have no truth."""


def masked(dtype: type = float) -> Any:
    values = np.array([[1, 2], [3, 99], [5, 6]], dtype=dtype)
    return np.ma.masked_array(values, mask=[[0, 0], [0, 1], [0, 0]])


MISSING = {
    "masked floats": masked(),
    "masked whole numbers": masked(int),
    "a list of masked rows": list(masked()),
    "a frame of masked values": SimpleNamespace(to_numpy=masked),
    "None": [[1.0, 2.0], [3.0, None], [5.0, 6.0]],
    "NA of pandas": np.array([[1, 2], [3, NAType()], [5, 6]], dtype=object),
}


@pytest.mark.parametrize("data", MISSING.values(), ids=MISSING)
def test_what_is_missing_is_refused_with_its_place(data: Any) -> None:
    with pytest.raises(DataError, match=r"got 1 of 6 that are m.*, the first of them at \[1, 1\]"):
        as_tensor(data)
    with pytest.raises(DataError, match=r"data\[1\]: expected a value everywhere"):
        as_data((torch.zeros(3), data))


def test_a_stored_array_has_no_mask() -> None:
    with pytest.raises(DataError, match="expected a value everywhere"):
        StoredArray(masked(np.uint8))
    assert StoredArray(masked(np.uint8)[:1])[:].tolist() == [[1.0, 2.0]]


def test_nulls_of_arrow_are_refused() -> None:
    arrow = pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="data: expected a value everywhere, got 1 null: leave"):
        as_tensor(arrow.array([1.0, None, 3.0]))
    with pytest.raises(DataError, match="the first of them row 1, in column 'b'"):
        as_tensor(arrow.table({"a": [1.0, 2.0], "b": [1.0, None]}))


def test_nothing_masked_is_data() -> None:
    assert as_tensor(masked()[::2]).tolist() == [[1.0, 2.0], [5.0, 6.0]]


def test_filling_and_a_mask_are_the_remedy() -> None:
    data = as_data((masked().filled(0.0), ~masked().mask))
    x, is_known = data[:]
    assert x[1].tolist() == [3.0, 0.0]
    assert is_known[1].tolist() == [True, False]


def test_mixed_columns_of_numbers_are_numbers() -> None:
    mixed = np.array([[1, 2.5], [True, Fraction(1, 2)]], dtype=object)
    assert as_tensor(mixed).tolist() == [[1.0, 2.5], [1.0, 0.5]]
    labels = as_data((torch.zeros(2), np.array([3, 4], dtype=object)))[:][1]
    assert labels.tolist() == [3, 4]
    assert labels.dtype == torch.int64


@pytest.mark.parametrize("value", ["3", Decimal(3), {}])
def test_other_objects_are_no_numbers(value: object) -> None:
    with pytest.raises(DataError, match="expected real numbers, got values of type object"):
        as_tensor(np.array([1.0, value], dtype=object))


TABLE = torch.tensor([[1.0, 5.0, 0.1], [2.0, 5.0, 0.1], [4.0, 5.0, 0.1]])


def standardised(data: torch.Tensor) -> torch.Tensor:
    scale = data.std(0)
    return (data - data.mean(0)) / scale.where(scale > 0, torch.ones(()))


def test_columns_that_a_standard_deviation_of_0_spoils_are_named() -> None:
    table = TABLE[:, :2]
    with pytest.raises(DataError, match="column 1 is so in every row, as a constant column is"):
        as_tensor((table - table.mean(0)) / table.std(0))
    assert as_tensor(standardised(table)).isfinite().all()


def test_all_that_is_not_finite_is_named() -> None:
    table = TABLE.clone()
    table[:, 1] = float("nan")
    table[2, 0] = float("inf")
    with pytest.raises(DataError, match=r"column 1 is so .*; others are in column 0$"):
        as_tensor(table)
    with pytest.raises(DataError, match=r"columns 1, 4, 7, .*, 28 and 2 more are so in every row"):
        as_tensor(torch.cat([table[:2]] * 12, 1))


def test_pixels_have_a_place() -> None:
    assert column_label(7, (2, 2, 3)) == "[1, 0, 1]"
    images = torch.zeros(2, 1, 2, 2)
    images[1, 0, 1, 0] = float("nan")
    with pytest.raises(DataError, match=r"the first of them row 1, in column \[0, 1, 0\]: leave"):
        as_tensor(images)
