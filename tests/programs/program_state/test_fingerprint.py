"""What of a program's own things is looked at."""

import pytest
import torch
from torch import Tensor

from pyro_decomp.programs.program_state.fingerprint import content, small_content


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(6.0).reshape(2, 3).T,
        torch.arange(6.0)[None, ::2],
        torch.randn(1, 2).T,  # strides of an axis of size 1 may be anything
        torch.arange(6.0).as_strided([1, 2], [7, 1]),
        torch.arange(6.0).as_strided([1], [2]),
        torch.tensor(3),
        torch.zeros([0, 2]),
    ],
    ids=["turned", "every other", "one column", "one row", "one number", "a number", "none"],
)
def test_content_is_that_of_the_numbers_in_order(tensor: Tensor) -> None:
    expected = b"".join(number.numpy().tobytes() for number in tensor.flatten().clone())
    assert content(tensor).tobytes() == small_content(tensor) == expected
