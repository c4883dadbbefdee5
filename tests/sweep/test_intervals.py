import math

import numpy as np
import pytest
from scipy import stats

from pyro_decomp.sweep import mean_interval


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("size", [2, 3, 8, 100])
def test_the_interval_is_that_of_students_t(size: int, level: float) -> None:
    x = np.random.default_rng(size).normal(3.0, 2.0, size)
    found = mean_interval(x, level)
    expected = stats.t.interval(level, size - 1, loc=x.mean(), scale=stats.sem(x))
    np.testing.assert_allclose((found.low, found.high), expected, rtol=1e-12)
    assert found.size == size


def test_it_covers_the_mean_as_often_as_it_says() -> None:
    x = np.random.default_rng(0).normal(1.0, 2.0, (4000, 5))
    covered = np.mean([i.low < 1.0 < i.high for i in map(mean_interval, x)])
    assert abs(covered - 0.95) < 4.3 * (0.95 * 0.05 / 4000) ** 0.5


def test_one_value_or_none_has_no_interval() -> None:
    one, none = mean_interval([2.5]), mean_interval([])
    assert (one.mean, one.half_width, one.low, one.high, one.size) == (2.5, None, None, None, 1)
    assert math.isnan(none.mean)
    assert (none.half_width, none.size) == (None, 0)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([1.0, 2.0, 3.0], "2.0 ± 2.5"),
        ([100.0, 300.0], "200 ± 1271"),
        ([1.0, 1.0, 1.0], "1.000 ± 0.000"),
        ([0.1234, 0.1235], "0.12345 ± 0.00064"),
        ([2.5], "2.5"),
        ([], "-"),
    ],
)
def test_in_words(values: list[float], text: str) -> None:
    assert str(mean_interval(values)) == text


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"values: expected shape \(n,\), got \(1, 2\)"):
        mean_interval([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"level: expected a number in \(0, 1\), got 95"):
        mean_interval([1.0, 2.0], 95)
