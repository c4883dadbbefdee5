import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from torch import Tensor

from pyro_decomp.analysis.pictures import traversals
from pyro_decomp.analysis.pictures.factors import _most_active
from pyro_decomp.analysis.pictures.traversals import components
from pyro_decomp.distributions import VonMisesFisher
from tests.analysis.pictures.examples import (
    CLASSES,
    DECODING,
    ONE,
    N,
    X,
    mixture,
    picture_data,
    summed_mixture,
)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    """As where pictures are drawn."""
    with torch.no_grad():
        yield


def test_one_dimension_moves_the_data_and_the_others_stay(tmp_path: Path) -> None:
    found = traversals.decode(picture_data(tmp_path), 7, 1, np.array([-2.0, 0.0, 5.0]))
    expected = (X[7] @ DECODING).expand(3, 3).clone()
    expected[:, 1] = 2 * torch.tensor([-2.0, 0.0, 5.0])
    np.testing.assert_allclose(found, expected)


def test_values_lie_between_quantiles_of_the_codes(tmp_path: Path) -> None:
    shown = picture_data(tmp_path)
    members = np.flatnonzero(CLASSES == 1)
    values = traversals.ranges(shown, members)
    assert values.shape == (3, traversals.STEPS)
    np.testing.assert_allclose(np.ptp(np.diff(values), axis=1), 0, atol=1e-12)
    codes = shown.sampled[members, 0]
    assert 0.85 < ((codes >= values[0, 0]) & (codes <= values[0, -1])).mean() < 1
    np.testing.assert_allclose(values[1].mean(), -9, atol=0.5)


def test_the_most_informative_dimension_comes_first(tmp_path: Path) -> None:
    shown = picture_data(tmp_path)
    assert shown.order.tolist() == [0, 1, 2]
    assert shown.information is not None
    assert shown.information[2] == pytest.approx(0.0, abs=1e-9)  # the same for all data
    # two clusters, and three of half the width
    assert 2.0 < shown.information[1] < shown.information[0] < math.log(N)


def test_a_typical_datum_is_near_the_median(tmp_path: Path) -> None:
    members = np.flatnonzero(CLASSES == 2)
    (base,) = traversals.typical(picture_data(tmp_path), members)
    assert base in members
    median = X[members].median(0).values
    assert (X[base] - median).abs().max() < 0.6


@pytest.mark.parametrize(
    ("prior", "names"),
    [
        (mixture, ["component 0", "component 1", "component 2"]),
        (summed_mixture, ["c = 0", "c = 1", "c = 2"]),
    ],
)
def test_the_components_of_a_mixture(tmp_path: Path, prior: Any, names: list[str]) -> None:
    found = components(picture_data(tmp_path, prior))
    assert list(found) == names
    for k, members in enumerate(found.values()):
        assert members.tolist() == np.flatnonzero(k == CLASSES).tolist()


def test_another_prior_has_no_components(tmp_path: Path) -> None:
    assert components(picture_data(tmp_path)) == {}


def test_a_direction_has_no_dimension_that_moves_by_itself(tmp_path: Path) -> None:
    def prior() -> Any:
        return pyro.sample("z", VonMisesFisher(ONE / 3**0.5, torch.tensor(1.0).double()))

    def guide(loc: Tensor) -> Any:
        unit = (loc + 1) / (loc + 1).norm(dim=-1, keepdim=True)
        return VonMisesFisher(unit, torch.tensor(5.0).double())

    shown = picture_data(tmp_path, prior, guide)
    assert not any(traversals.can_move(shown, column) for column in shown.columns)
    assert traversals.moved_in(shown) is None


def test_which_dimension_is_active_in_which_class(tmp_path: Path) -> None:
    (active,) = _most_active(picture_data(tmp_path), CLASSES.numpy())
    assert active == (0, 2)
