from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, train
from pyro_decomp.data import GroundTruth, as_data, chen_table, joint_factors, sprites
from pyro_decomp.data.rendered import Rendered
from pyro_decomp.errors import DataError

LARGEST = 3 * 50 - 1


def shades(factors: Tensor) -> Tensor:
    """An image of one pixel, as light as its index is large."""
    return (factors @ torch.tensor([50, 1]))[:, None, None, None] / LARGEST


TOYS = GroundTruth("toys", {"kind": 3, "place": 50}, (1, 1, 1), shades)


@pytest.mark.parametrize(
    "rows", [slice(None), slice(5, 9), slice(-2, None), torch.tensor([7, 149, 7])], ids=str
)
def test_rows_are_those_of_the_materialised_images(rows: slice | Tensor) -> None:
    stored = TOYS.stored()
    images, factors = TOYS.materialise()
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
    factors = joint_factors(TOYS, {("kind", "place"): chen_table("D", 3, 50)}, 400)
    stored = TOYS.stored(factors)
    assert len(stored) == 400
    assert torch.equal(stored[:], TOYS.images(factors))
    with pytest.raises(DataError, match="expected 0 to 2 for kind, got 3 in row 0"):
        TOYS.stored([[3, 0]])


def test_a_subset_keeps_its_own_factors() -> None:
    stored = TOYS.subset(kind=[2], place=[0, 49]).stored()
    assert stored[:].flatten().tolist() == pytest.approx([100 / LARGEST, 1.0])
    assert stored.factors.tolist() == [[0, 0], [0, 1]]


def test_it_trains_to_the_same_bits_as_the_images_in_memory(tmp_path: Path) -> None:
    def trained(data: object, folder: str) -> Tensor:
        encoder = nn.Linear(1, 1, bias=False)
        nn.init.ones_(encoder.weight)

        def model(x: Tensor) -> None:
            with pyro.plate("data", len(TOYS), subsample=x):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x[:, 0, 0])

        def guide(x: Tensor) -> None:
            with pyro.plate("data", len(TOYS), subsample=x):
                pyro.sample("z", dist.Normal(encoder(x[:, 0, 0]), 1.0).to_event(1))

        train(
            Experiment(model, guide, data, AggregateELBO(), epochs=2, batch_size=40),
            tmp_path / folder,
        )
        return encoder.weight.detach()

    assert torch.equal(
        trained(TOYS.stored(), "stored"), trained(TOYS.materialise()[0], "materialised")
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
