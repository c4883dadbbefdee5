from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_decomp import plots
from pyro_decomp.analysis.pictures import factors
from pyro_decomp.analysis.pictures.outputs import drawable
from pyro_decomp.analysis.pictures.picture_data import PictureData
from tests.analysis.pictures.examples import CLASSES, N, X, picture_data


def known(shown: PictureData, values: Tensor, names: tuple[str, ...]) -> factors.FactorData:
    shown.run.experiment.factors = values
    shown.run.experiment.factor_names = names
    with torch.no_grad():
        found = factors.FactorData.of(shown)
    assert found is not None
    return found


def test_codes_and_factors_are_of_the_same_data(tmp_path: Path) -> None:
    values = torch.stack([torch.arange(N), torch.zeros(N, dtype=torch.long), CLASSES], 1)
    found = known(picture_data(tmp_path), values, ("number", "constant", "class"))
    assert found.names == ["number", "class"]
    np.testing.assert_array_equal(found.codes, X[found.factors[:, 0]])
    np.testing.assert_array_equal(found.of_drawn, values[:, [0, 2]])


def test_without_a_factor_that_varies_there_is_nothing_to_draw(tmp_path: Path) -> None:
    shown = picture_data(tmp_path)
    shown.run.experiment.factors = torch.ones(N, 1, dtype=torch.long)
    assert factors.FactorData.of(shown) is None
    shown.run.experiment.factors = None
    assert factors.FactorData.of(shown) is None


def test_positions_share_a_map_and_long_factors_have_no_column(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Any] = {}

    def record(codes: Any, of: Any, names_of_factors: Any, **options: Any) -> Any:
        drawn.update(options, names_of_factors=names_of_factors)

    monkeypatch.setattr(factors, "MAX_VALUES", N - 1)
    monkeypatch.setattr(plots, "codes_against_factors", record)
    values = torch.stack([torch.arange(N), torch.arange(N) % 4, torch.arange(N) % 5], 1)
    shown = picture_data(tmp_path)
    with torch.no_grad():
        drawing = factors.codes_against_factors(shown, known(shown, values, ("time", "x", "y")))
    assert drawing is not None
    drawing()
    assert drawn["names_of_factors"] == ["x", "y"]
    assert drawn["pairs"] == [("x", "y")]
    assert drawn["names"] == ["$z_{1}$", "$z_{2}$", "$z_{3}$"]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5,), (5, 1)),
        ((5, 3), (5, 3)),
        ((5, 4, 6), (5, 4, 6)),
        ((5, 3, 4, 6), (5, 3, 4, 6)),
        ((5, 4, 6, 3), (5, 3, 4, 6)),
        ((5, 4, 6, 1), (5, 1, 4, 6)),
        ((5, 2, 4, 6), (5, 48)),
        ((5, 1, 2, 3, 4), (5, 24)),
    ],
)
def test_what_is_no_image_is_drawn_as_a_vector(
    shape: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert drawable(torch.zeros(shape)).shape == expected


def test_pixels_of_images_with_channels_last_stay_where_they_are() -> None:
    images = torch.rand(2, 4, 6, 3)
    assert torch.equal(drawable(images)[:, 1], images[..., 1])
