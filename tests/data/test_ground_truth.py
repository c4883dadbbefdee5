import pytest
import torch
from torch import Tensor

from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.errors import DataError


def digits(factors: Tensor) -> Tensor:
    """An image of two channels and one pixel that shows the values themselves."""
    return torch.stack([factors[:, 0], factors[:, 1] * 10 + factors[:, 2]], 1)[..., None, None] / 99


TOYS = GroundTruth("toys", {"kind": 3, "shade": 4, "place": 2}, (2, 1, 1), digits)


def test_materialised_images_belong_to_their_factors() -> None:
    images, factors = TOYS.materialise()
    assert torch.equal(factors, TOYS.factors())
    torch.testing.assert_close(images, digits(factors), rtol=0, atol=0)
    some, rows = TOYS.materialise([23, 5])
    torch.testing.assert_close(some, images[[23, 5]], rtol=0, atol=0)
    assert torch.equal(rows, factors[[23, 5]])


def test_more_images_than_a_chunk() -> None:
    many = GroundTruth("many", {"value": 2500}, (1, 1, 1), lambda f: f[..., None, None] / 2500)
    assert torch.equal(many.materialise()[0].flatten(), torch.arange(2500) / 2500)


def test_a_subset_is_the_grid_of_the_values_kept() -> None:
    part = TOYS.subset(shade=[3, 1], kind=[2])
    assert part.factor_names == TOYS.factor_names
    assert part.factor_sizes == (1, 2, 2)
    images, factors = part.materialise()
    assert factors.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    whole = [[2, 3, 0], [2, 3, 1], [2, 1, 0], [2, 1, 1]]
    torch.testing.assert_close(images, TOYS.images(whole), rtol=0, atol=0)
    again = part.subset(shade=[1]).materialise()[0]
    torch.testing.assert_close(again, TOYS.images(whole[2:]), rtol=0, atol=0)


def test_values_are_checked_before_they_are_drawn() -> None:
    with pytest.raises(DataError, match="factors: expected 0 to 1 for place, got 2 in row 0"):
        TOYS.images([[0, 0, 2]])
    with pytest.raises(DataError, match="factors: expected 0 to 0 for kind, got 1 in row 0"):
        TOYS.subset(kind=[2]).images([[1, 0, 0]])


@pytest.mark.parametrize("values", [[], [4], [-1], [1, 1]])
def test_a_subset_has_distinct_values_of_the_factor(values: list[int]) -> None:
    with pytest.raises(DataError, match="subset: expected distinct values of shade from 0 to 3"):
        TOYS.subset(shade=values)


def test_a_subset_is_by_known_factors() -> None:
    with pytest.raises(DataError, match="factors among kind, shade, place, got 'colour'"):
        TOYS.subset(colour=[0])
