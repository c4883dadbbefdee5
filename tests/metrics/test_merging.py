"""The ceiling that two names for one image put on information, and its removal."""

import math

import numpy as np
import pytest

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import merge_levels, mig


def test_the_ceiling_of_40_orientations() -> None:
    v = np.tile(np.arange(40), 10)[:, None]
    image = v % 39  # 0 and 39 are one
    ceiling = 1 - 2 / 40 * math.log(2) / math.log(40)
    assert ceiling == pytest.approx(0.9906, abs=5e-5)
    assert mig(image, v, num_bins=39, num_resamples=0).value == pytest.approx(ceiling, abs=1e-12)
    merged = merge_levels(v, {0: {39: 0}})
    assert mig(image, merged, num_bins=39, num_resamples=0).value == pytest.approx(1.0, abs=1e-12)


def test_no_other_orientations_of_square_or_ellipse_coincide() -> None:
    angles = np.linspace(0, 2 * math.pi, 40)
    for fold in (1, 2, 4):
        turned = np.exp(1j * fold * angles)  # equal where the angles are, up to the symmetry
        same = np.abs(turned[:, None] - turned) < 1e-9
        assert np.argwhere(np.triu(same, 1)).tolist() == [[0, 39]]


def test_swapped_values_do_not_collide() -> None:
    factors = np.array([[0, 5], [1, 6], [2, 7]])
    assert merge_levels(factors, {0: {0: 1, 1: 0}, 1: {7: 5}}).tolist() == [[1, 5], [0, 6], [2, 5]]
    assert factors[0, 0] == 0  # not in place


def test_what_cannot_be_used() -> None:
    with pytest.raises(DataError, match="factors: expected a column 2, got 2 columns"):
        merge_levels([[0, 1]], {2: {0: 1}})
    with pytest.raises(DataError, match=r"expected an array \[n, columns\], got shape \(2,\)"):
        merge_levels([0, 1], {0: {0: 1}})
