"""Active units."""

import math

import numpy as np
import pytest

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import active_units, hoyer_sparsity
from pyro_decomp.metrics.sparsity import hoyer
from tests.metrics.coverage import assert_coverage


def test_the_variance_decides() -> None:
    z = np.array([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]]) * [1.0, 0.08, 0.06]  # variance 2 c^2
    score = active_units(np.tile(z, (50, 1)))
    assert score.details["variances"] == pytest.approx(
        [100 / 99, 0.0064 * 100 / 99, 0.0036 * 100 / 99]
    )
    assert score.value == 1
    assert active_units(z, threshold=0.01).value == 2
    assert active_units(z, threshold=0.007).value == 3


def test_a_unit_far_from_the_threshold_is_certain() -> None:
    z = np.random.default_rng(0).normal(size=(500, 3))
    z *= np.array([1.0, 0.1, 0.01]) / z.std(0)  # the second is at the threshold, 0.1^2
    score = active_units(z)
    assert score.interval == (1.0, 2.0)
    assert active_units(z[:, ::2]).interval == (1.0, 1.0)


def test_constant_codes() -> None:
    assert active_units(np.ones((20, 4)), threshold=0.0).value == 0


def test_arguments_are_checked() -> None:
    with pytest.raises(
        ValueError, match="threshold: expected a finite number of at least 0, got -1"
    ):
        active_units(np.eye(3), threshold=-1)
    with pytest.raises(DataError, match="at least 2 rows for active_units, got 1"):
        active_units(np.ones((1, 3)))


def test_the_ends_of_the_range() -> None:
    assert hoyer_sparsity(np.eye(5)).value == pytest.approx(1.0, abs=1e-12)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(100, 5))
    assert hoyer(signs) == pytest.approx(np.zeros(100), abs=1e-12)


def test_the_formula() -> None:
    z = np.random.default_rng(0).normal(size=(20, 3)) * [1, 10, 0.1]
    y = z / z.std(0)
    rows = [(math.sqrt(3) - sum(abs(r)) / math.sqrt(sum(r * r))) / (math.sqrt(3) - 1) for r in y]
    assert hoyer_sparsity(z).value == pytest.approx(np.mean(rows), rel=1e-12)


def test_the_size_of_a_code_does_not_count() -> None:
    y = np.array([[3.0, 4.0]])
    for size in (1e-300, 1e300):
        assert hoyer(size * y) == pytest.approx(hoyer(y), rel=1e-12)


def test_a_constant_dimension_is_left_out() -> None:
    z = np.random.default_rng(0).normal(size=(20, 3))
    score = hoyer_sparsity(np.c_[np.full(20, 5.0), z])
    assert score.value == hoyer_sparsity(z).value
    assert score.variant["constant_dims"] == [0]


def test_a_code_of_zeros_is_left_out_of_the_mean() -> None:
    z = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    score = hoyer_sparsity(z, num_resamples=0)
    assert score.value == pytest.approx(1.0)
    assert score.variant["zero_rows"] == 2


@pytest.mark.full
def test_two_normals() -> None:
    """E |y|_1/|y|_2 = 4/pi for a direction that is uniform on the circle."""
    truth = (math.sqrt(2) - 4 / math.pi) / (math.sqrt(2) - 1)
    assert_coverage(hoyer_sparsity, lambda rng: (rng.normal(size=(200, 2)),), truth)


def test_one_dimension_has_no_sparsity() -> None:
    with pytest.raises(DataError, match="at least 2 of 1 dimensions to vary for hoyer_sparsity"):
        hoyer_sparsity(np.arange(5.0)[:, None])
