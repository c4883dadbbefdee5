"""IRS against its definition, the large study's fixtures and a population."""

import itertools

import numpy as np
import pytest

from pyro_decomp.metrics import irs
from tests.metrics.coverage import assert_coverage

GRID = np.array(list(itertools.product(range(4), range(5), range(3))))


def test_identity_and_constant_codes() -> None:
    assert irs(GRID, GRID).value == 1.0
    constant = irs(np.ones(GRID.shape), GRID)
    assert constant.value == 0.0
    assert constant.variant["constant_dims"] == [0, 1, 2]


def test_duplicates_are_not_seen() -> None:
    assert irs(np.c_[GRID, GRID], GRID).value == 1.0


@pytest.mark.parametrize("quantile", [0.9, 0.99, 1.0])
def test_the_formula(quantile: float) -> None:
    z = GRID @ np.array([[1.0, 0.2], [0.3, 1.0], [0.0, 2.0]])
    expected = np.empty((2, 3))
    largest = np.abs(z - z.mean(0)).max(0)
    for d, k in itertools.product(range(2), range(3)):
        groups = [z[GRID[:, k] == value, d] for value in np.unique(GRID[:, k])]
        moved = [np.quantile(np.abs(group - group.mean()), quantile) for group in groups]
        expected[d, k] = 1 - np.mean(moved) / largest[d]
    score = irs(z, GRID * 10 - 7, quantile=quantile)
    assert score.details["matrix"] == pytest.approx(expected, rel=1e-12)
    assert score.value == pytest.approx(np.average(expected.max(1), weights=largest))


def test_dimensions_that_move_far_weigh_more() -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, size=len(GRID))
    near, far = (irs(np.c_[GRID[:, 0], c * noise], GRID[:, :2]).value for c in (0.01, 100))
    assert near > 0.98
    assert far < 0.1


@pytest.mark.full
def test_the_interval_holds_the_populations() -> None:
    """z = v + u, v = 1 in 3 of 10, u uniform within h: deviations q h, the largest 0.7 + h.

    Beside v is a factor that z knows nothing of, which makes for larger deviations.
    """
    h, q = 0.25, 0.9
    truth = 1 - q * h / (0.7 + h)

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        v = rng.binomial(1, 0.3, size=(400, 1))
        return v + rng.uniform(-h, h, size=v.shape), np.hstack([v, rng.integers(2, size=v.shape)])

    assert_coverage(lambda z, v, **settings: irs(z, v, quantile=q, **settings), draw, truth)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match=r"quantile: expected a number in \(0, 1\], got 0"):
        irs(GRID, GRID, quantile=0)


def test_few_rows_a_value_have_no_interval() -> None:
    """Of 300 rows and 40 values the score is 0.62 for a population's 0.55: never in an interval."""
    v = np.arange(2000)[:, None] % [3, 40]
    few = irs(v[:300], v[:300])
    assert few.interval is None
    assert few.corrected is None
    assert few.no_interval == "expected at least 2000 rows, got 300"
    assert irs(v, v, num_resamples=4).interval is not None
