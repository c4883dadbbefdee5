"""Explicitness against closed forms, and areas against scikit-learn's."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import explicitness
from pyro_decomp.metrics.explicitness import area_under_curve


def test_areas_are_scikit_learns() -> None:
    generator = np.random.default_rng(0)
    ranks = generator.integers(30, size=[80, 4])  # with ties
    positive = generator.random([80, 4]) < 0.3
    expected = [roc_auc_score(positive[:, c], ranks[:, c]) for c in range(4)]
    assert np.allclose(area_under_curve(ranks, positive), expected, rtol=1e-12)


def test_one_kind_alone_has_no_area() -> None:
    assert np.isnan(area_under_curve(np.array([[0], [1]]), np.array([[True], [True]]))).all()


def test_values_that_occur_once() -> None:
    with pytest.raises(DataError, match=r"^factors: expected a value among both .* got none$"):
        explicitness(np.eye(20), np.arange(20)[:, None])


def test_ordered_values_on_a_line() -> None:
    """Five values in order; a line ranks 1, 3/4, 1/2, 3/4 and 1 of the pairs right."""
    v = np.tile(np.arange(5), 300)[:, None]
    score = explicitness(v, v, num_resamples=0)
    # the middle value's regression is flat, its side a coin's: all ties, or all of one side
    assert score.value == pytest.approx(0.8, abs=0.03)


def test_one_axis_a_value_is_explicit() -> None:
    v = np.tile(np.arange(5), 60)[:, None]
    assert explicitness(np.eye(5)[v[:, 0]], v, num_resamples=0).value == 1.0
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=[5, 5]))[0]
    assert explicitness(np.eye(5)[v[:, 0]] @ rotation, v, num_resamples=0).value == 1.0


def test_two_gaussians() -> None:
    """Means m apart, scale 1: the area is Phi(m / sqrt 2), and the interval holds it."""
    generator = np.random.default_rng(0)
    v = generator.integers(2, size=[6000, 1])
    score = explicitness(v * 2**0.5 + generator.normal(size=v.shape), v)
    low, high = score.interval
    assert low < 0.8413447 < high
    spread = 2 * 1.96 * 0.0087  # of an area of 0.84 from 1,000 rows of each kind
    assert high - low == pytest.approx(spread, rel=0.35)


def test_a_rare_value_is_left_out() -> None:
    v = np.tile([[0, 0], [1, 1], [0, 1], [1, 0]], (10, 1))
    v[3, 0] = 2  # on one side of any split
    assert explicitness(v, v, num_resamples=0).details["areas"][1] == 1.0
