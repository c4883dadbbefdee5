import pytest
import torch
from torch import Tensor

from pyro_decomp.acceleration.fusion import FusionError
from tests.acceleration.fusion.recorded import assert_same, normal, program_of


def test_data_of_32_bits_beside_parameters_of_64() -> None:
    x, weight = normal(20, 6, dtype=torch.float32), normal(6, 12)

    def function(x: Tensor, weight: Tensor) -> list[Tensor]:
        exact = x.double()
        return [exact @ weight, exact.T @ exact, (x > 0).double() * exact, x - weight[:, 0]]

    assert_same(program_of(function, [x, weight])([x, weight]), function(x, weight), 1e-12)


def test_what_torch_rounds_to_32_bits_is_not_computed_with_64() -> None:
    x, weight = normal(20, 6, dtype=torch.float32), normal(6, 12)
    with pytest.raises(FusionError, match=r"mm.* of torch.float32 beside torch.float64"):
        program_of(lambda x, w: [(x @ x.T).double() @ x.double() @ w], [x, weight])


def test_counts_stay_whole_beyond_what_32_bits_hold() -> None:
    n, x = torch.tensor([2**24, 1, 2, 3, 5, 6, 7, 8, 9, 11]), normal(3, dtype=torch.float32)

    def function(n: Tensor, x: Tensor) -> list[Tensor]:
        return [x * (n.sum() - 2**24), x * (n * 2 - 2**25).sum(), x * (n > 2).sum()]

    assert_same(program_of(function, [n, x])([n, x]), function(n, x), 1e-6)
