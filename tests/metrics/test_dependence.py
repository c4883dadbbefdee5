"""Wasserstein dependence against closed forms."""

import math

import numpy as np
import pytest
from scipy.linalg import sqrtm

from pyro_decomp.metrics import squared_wasserstein_dependence, wasserstein_dependence
from tests.metrics.coverage import assert_coverage

RHO = 0.6
COVARIANCE = np.array([[1.0, RHO], [RHO, 1.0]])
TRUTH = 4 - 2 * (math.sqrt(1 + RHO) + math.sqrt(1 - RHO))  # eigenvalues 1 +- rho


def test_two_dimensions() -> None:
    assert squared_wasserstein_dependence(COVARIANCE) == pytest.approx(TRUTH, rel=1e-12)
    assert squared_wasserstein_dependence(9 * COVARIANCE) == pytest.approx(9 * TRUTH, rel=1e-12)


def test_the_formula_of_two_gaussians() -> None:
    """W2^2 = tr(A + B - 2 (A^1/2 B A^1/2)^1/2), here with B the diagonal of A."""
    a = np.cov(np.random.default_rng(0).normal(size=(6, 4)), rowvar=False) * np.outer(
        *[[1, 2, 3, 4]] * 2
    )
    b = np.diag(np.diag(a))
    root = sqrtm(a)
    expected = np.trace(a + b - 2 * sqrtm(root @ b @ root)).real
    assert squared_wasserstein_dependence(a) == pytest.approx(expected, rel=1e-6)


def test_normalised_is_free_of_units() -> None:
    z = np.random.default_rng(0).normal(size=(50, 3)) @ [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    one, other = (wasserstein_dependence(c * z, normalised=True) for c in (1.0, 100.0))
    assert one.value == pytest.approx(other.value, rel=1e-9)
    assert wasserstein_dependence(z).value == pytest.approx(one.value * np.trace(np.cov(z.T)))


def test_dependent_dimensions_are_finite() -> None:
    z = np.random.default_rng(0).normal(size=(50, 1))
    value = wasserstein_dependence(np.c_[z, z], num_resamples=0).value
    assert value == pytest.approx((4 - 2 * math.sqrt(2)) * z.var(ddof=1))


@pytest.mark.full
def test_the_interval_holds_the_populations() -> None:
    root = np.linalg.cholesky(COVARIANCE)
    assert_coverage(
        wasserstein_dependence, lambda rng: (rng.normal(size=(300, 2)) @ root.T,), TRUTH
    )
