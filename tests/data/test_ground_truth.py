from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, train
from pyro_decomp.data import as_data, chen_table, joint_factors, sprites
from pyro_decomp.data.ground_truth import GroundTruth, Rendered
from pyro_decomp.errors import DataError
from tests.statistics import FAILURE_RATE

GRID = GroundTruth("toys", {"kind": 3, "shade": 4, "place": 2}, (1, 1, 1), torch.clone)


def test_the_last_factor_is_fastest() -> None:
    expected = np.stack(np.unravel_index(np.arange(24), (3, 4, 2)), axis=1)
    assert torch.equal(GRID.factors(), torch.from_numpy(expected))
    assert torch.equal(GRID.index(GRID.factors()), torch.arange(len(GRID)))
    assert GRID.factors([23, 0]).tolist() == [[2, 3, 1], [0, 0, 0]]


def test_samples_are_uniform_over_the_grid() -> None:
    index = GRID.index(GRID.sample_factors(24_000, seed=1))
    assert chisquare(index.bincount(minlength=24).numpy()).pvalue > FAILURE_RATE


def test_a_seed_is_one_draw_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    draws = [GRID.sample_factors(50, seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_no_rows_are_rows() -> None:
    assert GRID.sample_factors(0).shape == (0, 3)
    assert GRID.index(GRID.sample_factors(0)).shape == (0,)


def test_what_is_no_value_is_named() -> None:
    for factors, message in (
        ([[0, 0, 0], [0, 4, 0]], "factors: expected 0 to 3 for shade, got 4 in row 1"),
        ([[-1, 0, 0]], "factors: expected 0 to 2 for kind, got -1 in row 0"),
        ([[0, 0]], r"factors: expected rows of 3 values for toys, got shape \(1, 2\)"),
        ([0, 0, 0], r"factors: expected rows of 3 values for toys, got shape \(3,\)"),
        ([[0.5, 0, 0]], "factors: expected whole numbers, got torch.float32"),
    ):
        with pytest.raises(DataError, match=f"^{message}$"):
            GRID.index(factors)
    for index in (-1, 24):
        with pytest.raises(DataError, match=f"index: expected 0 to 23 for toys, got {index}"):
            GRID.factors([0, index])
    with pytest.raises(DataError, match="n: expected a whole number of at least 0, got -2"):
        GRID.sample_factors(-2)


def test_there_is_something_to_vary() -> None:
    with pytest.raises(DataError, match="toys: expected at least one factor, got none"):
        GroundTruth("toys", {}, (1, 1, 1), torch.clone)
    with pytest.raises(DataError, match="toys: shade: expected a positive whole number, got 0"):
        GroundTruth("toys", {"kind": 2, "shade": 0}, (1, 1, 1), torch.clone)


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


LARGEST = 3 * 50 - 1


def shades(factors: Tensor) -> Tensor:
    """An image of one pixel, as light as its index is large."""
    return (factors @ torch.tensor([50, 1]))[:, None, None, None] / LARGEST


SHADES = GroundTruth("toys", {"kind": 3, "place": 50}, (1, 1, 1), shades)


@pytest.mark.parametrize(
    "rows", [slice(None), slice(5, 9), slice(-2, None), torch.tensor([7, 149, 7])], ids=str
)
def test_rows_are_those_of_the_materialised_images(rows: slice | Tensor) -> None:
    stored = SHADES.stored()
    images, factors = SHADES.materialise()
    assert stored.shape == images.shape
    assert torch.equal(stored[rows], images[rows])
    assert torch.equal(stored.factors, factors)


def test_only_the_rows_that_are_asked_for_are_drawn() -> None:
    drawn: list[int] = []

    def render(factors: Tensor) -> Tensor:
        drawn.append(len(factors))
        return shades(factors)

    stored = GroundTruth("toys", {"kind": 3, "place": 50}, (1, 1, 1), render).stored()
    as_data(stored)
    assert not drawn
    _ = stored[torch.tensor([3, 1])], stored[-1]
    assert drawn == [2, 1]


def test_images_of_given_factors_with_some_of_them_twice() -> None:
    factors = joint_factors(SHADES, {("kind", "place"): chen_table("D", 3, 50)}, 400)
    stored = SHADES.stored(factors)
    assert len(stored) == 400
    assert torch.equal(stored[:], SHADES.images(factors))
    with pytest.raises(DataError, match="expected 0 to 2 for kind, got 3 in row 0"):
        SHADES.stored([[3, 0]])


def test_a_subset_keeps_its_own_factors() -> None:
    stored = SHADES.subset(kind=[2], place=[0, 49]).stored()
    assert stored[:].flatten().tolist() == pytest.approx([100 / LARGEST, 1.0])
    assert stored.factors.tolist() == [[0, 0], [0, 1]]


def test_it_trains_to_the_same_bits_as_the_images_in_memory(tmp_path: Path) -> None:
    def trained(data: object, folder: str) -> Tensor:
        encoder = nn.Linear(1, 1, bias=False)
        nn.init.ones_(encoder.weight)

        def model(x: Tensor) -> None:
            with pyro.plate("data", len(SHADES), subsample=x):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x[:, 0, 0])

        def guide(x: Tensor) -> None:
            with pyro.plate("data", len(SHADES), subsample=x):
                pyro.sample("z", dist.Normal(encoder(x[:, 0, 0]), 1.0).to_event(1))

        train(
            Experiment(model, guide, data, AggregateELBO(), epochs=2, batch_size=40),
            tmp_path / folder,
        )
        return encoder.weight.detach()

    assert torch.equal(
        trained(SHADES.stored(), "stored"),
        trained(SHADES.materialise()[0], "materialised"),
    )


def test_an_experiment_takes_a_ground_truth_as_it_is() -> None:
    truth = sprites(16).subset(shape=[0], orientation=[0, 5])
    (images,) = as_data(truth).tensors
    assert isinstance(images, Rendered)
    assert torch.equal(images[3:5], truth.images(truth.factors(torch.tensor([3, 4]))))


def test_what_tells_a_rendering_from_another() -> None:
    def told(images: Rendered) -> list[Tensor]:
        return list(images.telling())

    truth = sprites(16).subset(shape=[0], scale=[0], y=[0])
    factors, images = told(truth.stored())
    assert torch.equal(factors, truth.factors())
    assert len(images) == 64
    assert all(
        torch.equal(*pair) for pair in zip(told(truth.stored()), (factors, images), strict=True)
    )
    other = sprites(16).subset(shape=[1], scale=[0], y=[0]).stored()  # the same rows of factors
    assert torch.equal(told(other)[0], factors)
    assert not torch.equal(told(other)[1], images)
