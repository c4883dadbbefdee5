"""Modularity: the published fixtures, and information from histograms."""

import numpy as np
import pytest

from pyro_decomp.metrics import modularity, mutual_information
from pyro_decomp.metrics.modularity import code_modularity

EYE = 5.0 * np.eye(5)
FIXTURES = {
    "identity": (EYE, 1.0),
    "empty code": (np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), 2 / 3),
    "zeros": (np.zeros([10, 10]), 0.0),
    "redundant codes": (np.vstack([EYE, EYE]), 1.0),
    "two factors a code": (np.hstack([EYE, EYE]), 8 / 9),
    "factors missed": (EYE[:2], 1.0),
    "one factor": (np.array([[0.2], [0.0]]), 0.5),
}


@pytest.mark.parametrize("name", FIXTURES)
def test_published_fixtures(name: str) -> None:
    information, expected = FIXTURES[name]
    assert code_modularity(information).mean() == pytest.approx(expected, abs=1e-12)


def test_it_is_that_of_the_information_counted() -> None:
    generator = np.random.default_rng(0)
    v = generator.integers(4, size=[700, 3])
    z = v + np.roll(v, 1, axis=1) * 0.4 + generator.normal(size=v.shape)
    score = modularity(z, v, num_bins=9)
    expected = code_modularity(mutual_information(z, v, num_bins=9))
    assert np.array_equal(score.details["modularity"], expected)
    assert score.value == pytest.approx(expected.mean())


def test_chance_takes_from_it_and_the_interval_gives_it_back() -> None:
    """Two factors, a code each behind noise: 1 in the population, whatever few rows count."""
    generator = np.random.default_rng(0)
    v = generator.integers(4, size=[200, 2])
    score = modularity(v + 1.2 * generator.normal(size=v.shape), v)
    assert score.value < 0.95
    low, high = score.interval
    assert score.value < high == 1.0
    assert low < 1.0


def test_a_code_that_knows_nothing_leaves_room_in_the_interval() -> None:
    """One code of each of two factors, one of noise: 2/3 by the definition, up to 1 by chance."""
    generator = np.random.default_rng(0)
    v = generator.integers(4, size=[800, 2])
    z = np.hstack([v, generator.normal(size=[800, 1])])
    score = modularity(z, v)
    assert score.details["unknown"].tolist() == [2]
    assert score.corrected == pytest.approx(2 / 3, abs=0.01)
    low, high = score.interval
    assert low <= 2 / 3 < score.value < high
    assert high == pytest.approx(1, abs=0.01)


def test_no_interval_where_no_code_knows_a_factor() -> None:
    generator = np.random.default_rng(0)
    score = modularity(generator.normal(size=[400, 3]), generator.integers(4, size=[400, 2]))
    assert score.interval is None
    assert score.corrected is None
    assert "0/0" in score.no_interval
