import pytest
import torch

from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.data.packed import from_images, packed
from pyro_decomp.errors import DataError


@pytest.mark.parametrize("side", [3, 4])  # nine pixels are not a whole number of bytes
def test_packed_images_are_the_images(side: int) -> None:
    table = torch.randint(2, (5000, 1, side, side)).float()
    data = GroundTruth(
        "noise", {"tens": 500, "ones": 10}, (1, side, side), lambda f: table[f[:, 0] * 10 + f[:, 1]]
    )
    copy = packed(data)
    assert (copy.name, copy.factor_names, copy.factor_sizes) == (
        "noise",
        ("tens", "ones"),
        (500, 10),
    )
    factors = data.sample_factors(300)
    torch.testing.assert_close(copy.images(factors), data.images(factors), rtol=0, atol=0)
    torch.testing.assert_close(copy.materialise()[0], table, rtol=0, atol=0)


def test_grey_is_refused() -> None:
    grey = GroundTruth("grey", {"level": 3}, (1, 1, 1), lambda f: f[..., None, None] / 2)
    with pytest.raises(DataError, match="grey: expected images of 0 and 1, got other values"):
        packed(grey)


@pytest.mark.parametrize("count", [2, 4])
def test_images_are_as_many_as_the_grid_has(count: int) -> None:
    chunks = [torch.zeros(1, 2, 2).numpy()] * count
    with pytest.raises(DataError, match=f"blank: expected 3 images, got {count}"):
        from_images("blank", {"value": 3}, (1, 2, 2), chunks)
