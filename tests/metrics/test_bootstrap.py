"""Intervals against the closed form of a mean, and coverage where the estimate is biased."""

import math
from typing import Any

import numpy as np
import pytest

from pyro_decomp.metrics import mig
from pyro_decomp.metrics.bootstrap import (
    estimate,
    estimate_from_halves,
    estimate_of_accuracy,
    half_samples,
)
from tests.metrics.coverage import assert_coverage


def interval(*given: Any, **named: Any) -> tuple[float, float] | None:
    return estimate(*given, **named).interval


def test_the_width_of_a_mean() -> None:
    x = np.random.default_rng(0).normal(size=1000)
    found = interval(lambda rows: x[rows].mean(), 1000, num_resamples=4000)
    assert found is not None
    reach = 1.959964 * x.std(ddof=1) / 1000**0.5
    assert found == pytest.approx((x.mean() - reach, x.mean() + reach), abs=0.05 * reach)


@pytest.mark.full
def test_a_bias_of_order_1_over_n_is_taken_off() -> None:
    x = np.random.default_rng(0).normal(size=50)
    found = interval(lambda rows: x[rows].var(), 50, num_resamples=20_000)
    assert found is not None  # the variance with denominator n is var(ddof=1) (1 - 1/n)
    assert np.mean(found) == pytest.approx(x.var(ddof=1), rel=0.005)


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
def test_a_bias_of_any_order_is_taken_off(order: float) -> None:
    found = estimate(
        lambda rows: 3.0 + len(rows) ** -order, 400, num_resamples=4, order=order, bounds=(0, 4)
    )
    assert found.corrected == pytest.approx(3.0, abs=1e-12)


def test_without_a_bias_the_centre_is_the_value() -> None:
    x = np.random.default_rng(0).normal(size=50)
    found = estimate(lambda rows: x[rows].mean(), 50, num_resamples=4, order=np.inf)
    assert found.corrected == x.mean()
    assert np.mean(found.interval) == pytest.approx(x.mean())


def test_the_corrected_value_is_never_outside() -> None:
    x = np.random.default_rng(0).random(100) / 100
    found = estimate(lambda rows: 1.1 + x[rows].mean() - 1 / len(rows), 100, bounds=(0.0, 1.0))
    assert found == (1.0, (1.0, 1.0), None)


@pytest.mark.full
def test_few_halves_cost_width_and_no_coverage() -> None:
    """Of 2,000 means of 40, 95 % within 4.3 standard errors, by as few as 3 halves."""
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(2000):
        x = generator.normal(size=40)
        low, high = interval(
            lambda rows, x=x: x[rows].mean(), 40, num_resamples=3, seed=seed, order=np.inf
        )
        hits += low <= 0 <= high
    assert abs(hits / 2000 - 0.95) < 4.3 * (0.95 * 0.05 / 2000) ** 0.5


@pytest.mark.full
def test_quarters_widen_what_is_not_smooth() -> None:
    """|mean| of centred data has bias sqrt(2/(pi n)); its corrected value is noisier than it."""
    generator = np.random.default_rng(0)
    corrected, reach = [], []
    for seed in range(300):
        x = generator.normal(size=64)
        halves = list(half_samples(64, 20, seed))
        found = estimate_from_halves(
            abs(x.mean()),
            [abs(x[half].mean()) for half in halves],
            order=0.5,
            quarters=np.array(
                [[abs(x[half[q]].mean()) for q in half_samples(32, 4, seed)] for half in halves]
            ),
        )
        corrected.append(found.corrected)
        reach.append(np.ptp(found.interval) / 2 / 1.96)
    assert abs(np.mean(corrected)) < 4.3 * np.std(corrected) / 300**0.5
    assert 1.0 < np.mean(reach) / np.std(corrected) < 1.6


def test_shares_of_questions() -> None:
    """Clopper & Pearson's interval where all is right; a bias that halves have twice is taken off.

    The four sets of questions about all rows have 0.75 on average, and each half 0.6.
    """
    always = estimate_of_accuracy(lambda _: (100, 100), (100, 100), 40, num_resamples=5, seed=0)
    assert always == (1.0, (pytest.approx(0.025 ** (1 / 400)), 1.0), None)
    biased = estimate_of_accuracy(
        lambda rows: (80 if len(rows) == 40 else 60, 100), (60, 100), 40, num_resamples=5, seed=0
    )
    assert biased.corrected == pytest.approx(0.9)
    none = estimate_of_accuracy(lambda _: (1, 1), (1, 1), 3, num_resamples=5, seed=0)
    assert none.no_interval == "expected at least 4 rows, got 3"


@pytest.mark.full
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
    assert estimate(first_half, 3).no_interval == "expected at least 4 rows, got 3"
    assert "num_resamples = 0" in estimate(first_half, 10, num_resamples=0).no_interval


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"num_resamples": 1}, "num_resamples: expected 0 or at least 2, got 1"),
        ({"num_resamples": 10**12}, "num_resamples: expected at most 1000000, got 1000000000000"),
        ({"order": 0.0}, r"order: expected a positive number, got 0\.0"),
        ({"level": 1.0}, r"level: expected a number in \(0, 1\), got 1\.0"),
    ],
)
def test_arguments_are_checked(argument: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interval(**{"statistic": lambda _: 0.0, "num_rows": 10, **argument})


@pytest.mark.parametrize("strange", [math.nan, math.inf])
def test_no_interval_of_what_is_not_finite(strange: float) -> None:
    assert interval(lambda rows: strange if 3 in rows else 1.0, 20) is None
    assert interval(lambda rows: strange if len(rows) == 20 else 1.0, 20) is None
