"""Codes and factors are checked, and counted from 0."""

import math

import numpy as np
import pytest
import torch

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import merge_levels, mig
from pyro_decomp.metrics.arrays import as_codes, as_factors


def test_tensors_and_lists_are_arrays() -> None:
    values = [[1.5, 2.0], [3.0, 4.0]]
    tensor = torch.tensor(values, requires_grad=True)
    for given in (values, tensor, tensor.bfloat16(), np.array(values, np.float32)):
        assert as_codes(given).tolist() == values


def test_levels_stand_for_sorted_values() -> None:
    given = np.array([[10, 5, 0], [-3, 5, 1], [7, 5, 0], [10, 5, 1]])
    factors = as_factors(given, num_rows=4)
    assert factors.columns == (0, 2)  # the second is constant
    assert factors.sizes == (3, 2)
    assert factors.numbers().tolist() == given[:, [0, 2]].tolist()
    assert factors.take(np.array([2, 0])).numbers().tolist() == given[[2, 0]][:, [0, 2]].tolist()
    for k, column in enumerate(factors.columns):
        assert factors.values[k][factors.levels[:, k]].tolist() == given[:, column].tolist()


def test_factors_may_be_words_or_whole_floats() -> None:
    words = as_factors([["b"], ["a"]], num_rows=2)
    assert words.levels.tolist() == words.numbers().tolist() == [[1], [0]]
    assert as_factors([[2.0], [5.0]], num_rows=2).levels.tolist() == [[0], [1]]


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([1.0, 2.0], r"codes: expected an array \[n, columns\], got shape \(2,\)"),
        (np.zeros([0, 2]), r"codes: expected an array \[n, columns\], got shape \(0, 2\)"),
        ([[1.0], [1.0, 2.0]], "codes: expected rows of one length, got a ragged list"),
        ([[0.0], [-2e75]], r"codes: expected numbers up to 1e\+75, .* got 2e\+75 in row 1"),
        ([[1j]], "codes: expected real numbers, got values of type complex128"),
        ([[0.0], [np.nan], [np.inf]], "NaN or infinity in 2 of 3 rows, the first of them row 1"),
    ],
)
def test_codes_that_cannot_be_used(codes: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_codes(codes)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([[0], [1]], "factors: expected 3 rows, one a code, got 2"),
        ([[0.0], [0.5], [1.0]], r"expected whole numbers, got 0\.5 in row 1, column 0"),
        ([[0.0], [np.nan], [1.0]], "expected whole numbers, got nan in row 1, column 0"),
        ([[1, 2], [1, 2], [1, 2]], "expected a factor that varies, got 2 constant"),
        ([[1j], [2], [3]], "expected whole numbers, got values of type complex128"),
    ],
)
def test_factors_that_cannot_be_used(factors: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_factors(factors, num_rows=3)


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
