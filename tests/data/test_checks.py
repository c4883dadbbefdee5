import pytest
import torch

from pyro_decomp.data import as_tensor
from pyro_decomp.data.checks import column_label
from pyro_decomp.errors import DataError

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
