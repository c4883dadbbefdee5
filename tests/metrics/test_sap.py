"""Separated attribute predictability against closed forms."""

import numpy as np
import pytest

from pyro_decomp.metrics import sap


def test_continuous_is_the_squared_correlation() -> None:
    generator = np.random.default_rng(0)
    v = generator.integers(9, size=[400, 2])
    z = v @ generator.normal(size=[2, 3]) + generator.normal(size=[400, 3])
    score = sap(z, v, continuous=[0, 1], held_out=0.99, num_resamples=0)
    expected = np.corrcoef(z.T, v.T)[:3, 3:] ** 2  # of all rows but 4
    assert np.allclose(score.details["predictability"], expected, atol=0.02)
    best = np.sort(score.details["predictability"], axis=0)
    assert score.value == pytest.approx((best[-1] - best[-2]).mean())


def test_a_known_correlation() -> None:
    """z = v + noise: the squared correlation is Var v / (Var v + Var noise)."""
    generator = np.random.default_rng(0)
    v = generator.integers(5, size=[20_000, 1])
    z = np.hstack([v + 2.0 * generator.normal(size=v.shape), generator.normal(size=v.shape)])
    score = sap(z, v, continuous=[0])
    low, high = score.interval
    assert low < 2 / (2 + 4) < high
    assert high - low < 0.05


def test_a_machine_of_one_code() -> None:
    """A binary factor with chance 0.9 of the code's sign: that accuracy, and chance for noise."""
    generator = np.random.default_rng(0)
    v = generator.integers(2, size=[9000, 1])
    z = np.where(generator.random([9000, 1]) < 0.9, 2 * v - 1, 1 - 2 * v)
    z = np.hstack([z, generator.normal(size=[9000, 1])])
    found = sap(z, v).details["predictability"]
    error = 4.3 * (0.25 / 3000) ** 0.5
    assert found[:, 0] == pytest.approx([0.9, 0.5], abs=error)


def test_units_and_a_mixture_of_kinds() -> None:
    generator = np.random.default_rng(0)
    v = generator.integers([2, 5], size=[600, 2])
    z = v + generator.normal(size=v.shape)
    score, moved = (sap(u * z + 7, v, continuous=[1], num_resamples=0) for u in (1.0, 1e-3))
    assert np.allclose(score.details["predictability"], moved.details["predictability"], atol=1e-9)
    alone = sap(z, v[:, [0]], num_resamples=0).details["predictability"]
    assert np.allclose(score.details["predictability"][:, [0]], alone, atol=1e-6)


def test_one_line_tells_few_ordered_values() -> None:
    v = np.random.default_rng(0).integers(10, size=[1000, 2])
    assert sap(v, v, num_resamples=0).value < 0.3
    assert sap(v, v, continuous=[0, 1], num_resamples=0).value > 0.9


def test_discrete_factors_have_no_interval() -> None:
    v = np.random.default_rng(0).integers([2, 5], size=[90, 2])
    for continuous in ([], [1]):
        score = sap(v, v, continuous=continuous)
        assert score.interval is None
        assert "that of continuous factors has an interval" in score.no_interval
    assert sap(v, v, continuous=[0, 1]).interval is not None


def test_arguments_are_checked() -> None:
    v = np.random.default_rng(0).integers(2, size=[30, 2])
    with pytest.raises(ValueError, match=r"continuous: expected columns that vary, of \[0, 1\]"):
        sap(v, v, continuous=[2])
    with pytest.raises(ValueError, match=r"held_out: expected a number in \(0, 1\), got 1\.0"):
        sap(v, v, held_out=1.0)
    with pytest.raises(ValueError, match="at least 4 rows to train and 4 to score, got 4 and 2"):
        sap(v[:6], v[:6])
