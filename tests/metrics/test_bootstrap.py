"""Intervals against the closed form of a mean, and coverage where the estimate is biased."""

import numpy as np
import pytest

from pyro_decomp.metrics import interval, mig
from tests.metrics.coverage import assert_coverage


def test_the_width_of_a_mean() -> None:
    x = np.random.default_rng(0).normal(size=1000)
    found = interval(lambda rows: x[rows].mean(), 1000, num_resamples=4000)
    assert found is not None
    reach = 1.959964 * x.std(ddof=1) / 1000**0.5
    assert found == pytest.approx((x.mean() - reach, x.mean() + reach), abs=0.05 * reach)


def test_a_bias_of_order_1_over_n_is_taken_off() -> None:
    x = np.random.default_rng(0).normal(size=50)
    found = interval(lambda rows: x[rows].var(), 50, num_resamples=20_000)
    assert found is not None  # the variance with denominator n is var(ddof=1) (1 - 1/n)
    assert np.mean(found) == pytest.approx(x.var(ddof=1), rel=0.005)


def test_mig_covers_the_population() -> None:
    """A code that copies a factor of 4 values with chance p, and a second with chance less."""
    chances = np.array([0.8, 0.5])

    def draw(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        v = generator.integers(4, size=[300, 1])
        copied = generator.random([300, 2]) < chances
        return np.where(copied, v, generator.integers(4, size=[300, 2])).astype(float), v

    hit = chances + (1 - chances) / 4
    miss = (1 - chances) / 4
    information = np.log(4) + hit * np.log(hit) + 3 * miss * np.log(miss)
    assert_coverage(mig, draw, (information[0] - information[1]) / np.log(4))


def test_the_seed_decides() -> None:
    x = np.random.default_rng(0).normal(size=30)
    first, again, other = (
        interval(lambda rows: x[rows].mean(), 30, seed=seed) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_bounds_and_none() -> None:
    def first_half(rows: np.ndarray) -> float:
        return float((rows < 5).mean())

    wide = interval(first_half, 10)
    assert wide is not None
    assert wide[0] < 0.4
    assert wide[1] > 0.6
    assert interval(first_half, 10, bounds=(0.4, 0.6)) == (0.4, 0.6)
    assert interval(first_half, 10, num_resamples=0) is None
    assert interval(first_half, 3) is None


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"num_resamples": 1}, "num_resamples: expected 0 or at least 2, got 1"),
        ({"level": 1.0}, r"level: expected a number between 0 and 1, got 1\.0"),
    ],
)
def test_arguments_are_checked(argument: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interval(**{"statistic": lambda _: 0.0, "num_rows": 10, **argument})
