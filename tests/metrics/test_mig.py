"""The gap of histogram information."""

from collections.abc import Callable

import numpy as np
import pytest

from pyro_decomp.metrics import (
    Score,
    mean_maximal_mutual_information,
    mig,
    modularity,
    mutual_information,
)
from pyro_decomp.metrics.mig import gaps
from tests.metrics.coverage import assert_coverage


def test_gaps_by_hand() -> None:
    information = np.array([[0.1, 0.0, 0.4], [0.6, 0.3, 0.4], [0.2, 0.3, 0.1]])
    assert np.allclose(gaps(information, np.array([0.8, 0.6, 0.5])), [0.4 / 0.8, 0, 0])
    assert gaps(np.array([[0.3]]), np.array([0.5])).tolist() == [0.6]  # no rival
    assert gaps(np.array([[0.0]]), np.array([0.0])).tolist() == [0.0]


def test_it_is_the_mean_gap_of_the_information_recorded() -> None:
    generator = np.random.default_rng(0)
    v = generator.integers([3, 2, 6], size=[900, 3])
    z = v @ generator.normal(size=[3, 4]) + generator.normal(size=[900, 4])
    score = mig(z, v, num_bins=12)
    information = mutual_information(z, v, num_bins=12)
    assert np.array_equal(score.details["mutual_information"], information)
    best = np.sort(information, axis=0)
    assert score.value == pytest.approx(
        np.mean((best[-1] - best[-2]) / score.details["entropy"]), abs=1e-12
    )


def test_a_constant_factor_is_left_out_by_name() -> None:
    v = np.random.default_rng(0).integers([4, 1, 3], size=[300, 3])
    score = mig(v, v, num_resamples=0)
    assert score.variant["factors"] == (0, 2)
    assert score.value == mig(v, v[:, [0, 2]], num_resamples=0).value


def test_independent_codes_know_what_the_bias_says() -> None:
    """The plug-in information of independent variables is about (bins - 1)(levels - 1)/2n."""
    generator = np.random.default_rng(0)
    bins, levels, n = 5, 4, 400
    found = [
        mutual_information(
            generator.integers(bins, size=[n, 1]), generator.integers(levels, size=[n, 1])
        ).item()
        for _ in range(400)
    ]
    expected = (bins - 1) * (levels - 1) / (2 * n)
    assert np.mean(found) == pytest.approx(expected, abs=4.3 * np.std(found) / 20 + 0.02 * expected)


@pytest.mark.parametrize("score", [mig, mean_maximal_mutual_information, modularity])
def test_few_rows_a_cell_have_no_interval(score: Callable[..., Score]) -> None:
    """Forty values and nineteen bins that are not empty.

    Of 300 rows, intervals by halves hold the truth in a third of simulations of MIG, and in none
    of modularity's.
    """
    generator = np.random.default_rng(0)
    v = generator.integers([6, 40], size=[1600, 2])
    z = v + generator.uniform(-1, 1, size=v.shape)
    few = score(z[:300], v[:300])
    assert few.interval is None
    assert few.corrected is None
    assert few.no_interval == "expected at least 1560 rows, got 300"
    assert score(z, v, num_resamples=4).interval is not None
    assert score(v[:300] // 20, v[:300] // 4, num_resamples=4).interval is not None  # few bins


V = np.random.default_rng(0).integers(0, [4, 5], [1000, 2])


def test_copies_cost_nothing() -> None:
    z = np.hstack([V, V]).astype(float)
    assert mean_maximal_mutual_information(z, V, num_resamples=0).value == pytest.approx(1.0)
    assert mig(z, V, num_resamples=0).value == pytest.approx(0.0)


def test_a_factor_that_no_code_knows_counts() -> None:
    score = mean_maximal_mutual_information(V[:, :1], V, num_resamples=0)
    assert score.details["shares"][0] == pytest.approx(1.0)
    assert score.value == pytest.approx(score.details["shares"].mean())
    assert score.details["shares"][1] < 0.02


def test_histograms_are_those_of_mig() -> None:
    z = V + 0.5 * np.random.default_rng(1).normal(size=V.shape)
    ours, gap = (metric(z, V, num_resamples=0) for metric in (mean_maximal_mutual_information, mig))
    information = ours.details["mutual_information"]
    np.testing.assert_array_equal(information, gap.details["mutual_information"])
    rivals = np.sort(information, 0)[-2] / ours.details["entropy"]
    assert ours.value - rivals.mean() == pytest.approx(gap.value)


def test_class_labels_are_a_factor() -> None:
    assert mean_maximal_mutual_information(V[:, :1], V[:, :1]).value == pytest.approx(1.0)


def test_the_interval_holds_the_populations() -> None:
    """A coin that is seen through noise that turns it over one time in ten."""
    right = 0.9
    truth = 1 + (right * np.log2(right) + (1 - right) * np.log2(1 - right))

    def draw(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        v = rng.integers(2, size=(400, 1))
        return np.where(rng.random(v.shape) < right, v, 1 - v).astype(float), v

    assert_coverage(mean_maximal_mutual_information, draw, truth)
