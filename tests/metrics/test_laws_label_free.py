"""What leaves a metric without factors as it is, and what does not."""

import numpy as np
import pytest

from pyro_decomp.metrics import Score
from tests.metrics.laws import INVARIANCES, INVARIANT_CODES, Invariance

Z = INVARIANT_CODES
UNITS = np.array([1.0, 10.0, 0.1, 3.0])


@pytest.fixture(params=INVARIANCES)
def law(request: pytest.FixtureRequest) -> Invariance:
    return INVARIANCES[request.param]


def changes(law: Invariance, z: np.ndarray) -> bool:
    return law.score(z).value != pytest.approx(law.score(Z).value, rel=1e-9)


def test_the_order_of_dimensions(law: Invariance) -> None:
    assert not changes(law, Z[:, [2, 0, 3, 1]])


def test_signs(law: Invariance) -> None:
    assert not changes(law, Z * [1, -1, -1, 1])


def test_units(law: Invariance) -> None:
    assert changes(law, Z * UNITS) == law.scaled


def test_origin(law: Invariance) -> None:
    assert changes(law, Z + UNITS) == law.shifted


def test_axes(law: Invariance) -> None:
    quarter = np.array([[0.5**0.5, -(0.5**0.5)], [0.5**0.5, 0.5**0.5]])
    assert changes(law, Z @ np.kron(np.eye(2), quarter)) == law.rotated


def test_the_variant_tells_how_it_was_made(law: Invariance) -> None:
    score = law.score(Z)
    assert isinstance(score, Score)
    assert score.variant["num_rows"] == len(Z)
    assert score.variant["seed"] == 0
    assert score.interval is None
