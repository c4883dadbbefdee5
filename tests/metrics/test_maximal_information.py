"""What the best code knows of each factor."""

import numpy as np
import pytest

from pyro_decomp.metrics import mean_maximal_mutual_information, mig
from tests.metrics.coverage import assert_coverage

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
