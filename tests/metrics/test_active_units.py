"""Active units."""

import numpy as np
import pytest

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import active_units


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
    with pytest.raises(ValueError, match="threshold: expected at least 0, got -1"):
        active_units(np.eye(3), threshold=-1)
    with pytest.raises(DataError, match="at least 2 rows for active_units, got 1"):
        active_units(np.ones((1, 3)))
