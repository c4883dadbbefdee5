"""Lasso from moments against its optimality conditions and scikit-learn."""

import math

import numpy as np
import pytest

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import completeness, dci_lasso, dci_trees, disentanglement
from pyro_decomp.metrics.dci import lasso_coefficients

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 200, 5)) @ RNG.normal(size=(5, 5))
Y = X @ RNG.normal(size=(5, 4)) * RNG.choice([0.0, 0.2], size=(5, 4)).sum() + RNG.normal(
    size=(3, 200, 4)
)
GRAM = np.einsum("rna,rnb->rab", X, X) / 200
CROSS = np.einsum("rna,rnb->rab", X, Y) / 200


@pytest.mark.parametrize("alpha", [0.01, 0.3, 3.0])
def test_the_gradient_is_the_penaltys(alpha: float) -> None:
    w = lasso_coefficients(GRAM, CROSS, alpha)
    gradient = CROSS - GRAM @ w
    assert np.abs(gradient).max() <= alpha + 1e-4
    assert gradient[w != 0] == pytest.approx(alpha * np.sign(w[w != 0]), abs=1e-4)
    assert (w == 0).any() == (alpha > 0.1)


def test_scikit_learn_agrees() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    model = linear_model.Lasso(alpha=0.3, fit_intercept=False, tol=1e-10)
    expected = np.stack([model.fit(x, y).coef_.T for x, y in zip(X, Y, strict=True)])
    assert lasso_coefficients(GRAM, CROSS, 0.3) == pytest.approx(expected, abs=1e-4)


def test_a_variable_of_zeros_has_no_coefficient() -> None:
    gram, cross = GRAM.copy(), CROSS.copy()
    gram[:, 2], gram[:, :, 2], cross[:, 2] = 0, 0, 0
    kept = [0, 1, 3, 4]
    w = lasso_coefficients(gram, cross, 0.1)
    assert not w[:, 2].any()
    fewer = lasso_coefficients(gram[:, kept][:, :, kept], cross[:, kept], 0.1)
    assert w[:, kept] == pytest.approx(fewer, abs=1e-12)


EYE = 5.0 * np.eye(5)
SHARED = 1 - math.log(2) / math.log(10)
EMPTY_CODE = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
# Locatello et al. 2019, as their library tests itself: importance, disentanglement, completeness.
FIXTURES = {
    "identity": (EYE, 1.0, 1.0),
    "empty code": (EMPTY_CODE, 1.0, 1.0),
    "zeros": (np.zeros([10, 10]), 0.0, 0.0),
    "redundant codes": (np.vstack([EYE, EYE]), 1.0, SHARED),
    "two factors a code": (np.hstack([EYE, EYE]), SHARED, 1.0),
    "factors missed": (EYE[:2], 1.0, 1.0),
    "one factor": (np.array([[1.0], [1.0]]), 1.0, 0.0),
    "uniform": (np.ones([3, 4]), 0.0, 0.0),
}


@pytest.mark.parametrize("name", FIXTURES)
def test_published_fixtures(name: str) -> None:
    importance, expected_disentanglement, expected_completeness = FIXTURES[name]
    assert disentanglement(importance) == pytest.approx(expected_disentanglement, abs=1e-12)
    assert completeness(importance) == pytest.approx(expected_completeness, abs=1e-12)


def design() -> np.ndarray:
    """Every combination of three factors, three times over: exactly uncorrelated."""
    return np.tile(np.stack(np.meshgrid(*[np.arange(6)] * 3), -1).reshape(-1, 3), (3, 1))


def test_lasso_shrinks_by_alpha() -> None:
    """On uncorrelated codes a coefficient is the correlation less alpha, the error alpha^2."""
    v = design()
    score = dci_lasso(1e3 * v, v, alpha=0.1, num_resamples=0, held_out=0.02)
    assert np.allclose(score.details["importance"], 0.9 * np.eye(3), atol=0.01)
    assert np.allclose(score.details["informativeness"], 1 - 0.1**2, atol=0.02)
    assert score.value > 0.9
    assert score.details["completeness"] > 0.9


def test_lasso_of_rotated_codes() -> None:
    """Two codes turned by 45 degrees: each matters to both, half and half."""
    v = design()
    z = np.stack([v[:, 0] + v[:, 1], v[:, 0] - v[:, 1], v[:, 2]], axis=1)
    score = dci_lasso(z, v)
    half = 0.5**0.5 - 0.02  # each correlation, less the penalty
    shares = np.array([[half, half, 0.0], [half, half, 0.0], [0.0, 0.0, 0.98]])
    assert score.value == pytest.approx(disentanglement(shares), abs=0.05)
    low, high = score.interval
    assert low < disentanglement(shares) < high
    assert score.details["completeness_interval"][0] < score.details["completeness"]


def test_lasso_takes_values_as_numbers() -> None:
    v = design()
    squares = v[:, :1] ** 2
    expected = np.corrcoef(v[:, 0], squares[:, 0])[0, 1] ** 2
    both = np.hstack([squares, v[:, :1]])
    score = dci_lasso(v[:, :1], both, alpha=0.0, num_resamples=0, held_out=0.5)
    assert score.details["informativeness"] == pytest.approx([expected, 1.0], abs=0.02)


def test_trees_find_a_factor_without_order() -> None:
    """Classes that alternate along a code: trees tell them, a line cannot."""
    generator = np.random.default_rng(0)
    z = generator.uniform(0, 6, size=[400, 2])
    v = np.stack([np.floor(z[:, 1]) % 2, np.floor(z[:, 0]) // 2], axis=1).astype(int)
    trees = dci_trees(z, v, num_rounds=20)
    assert np.allclose(trees.details["importance"].sum(0), 1)
    assert trees.details["importance"][[1, 0], [0, 1]].min() > 0.9
    assert trees.details["informativeness"].min() > 0.9
    assert trees.value == pytest.approx(disentanglement(trees.details["importance"]))
    assert dci_lasso(z, v, num_resamples=0).details["informativeness"][0] < 0.2


def test_a_value_seen_once_is_no_error() -> None:
    v = np.zeros([40, 2], dtype=int)
    v[7, 0] = 1
    v[::2, 1] = 1
    score = dci_trees(v, v, num_rounds=2)
    assert score.details["importance"][1, 1] == pytest.approx(1)


def test_arguments_are_checked() -> None:
    v = design()
    with pytest.raises(
        ValueError, match=r"alpha: expected a finite number of at least 0, got -1\.0"
    ):
        dci_lasso(v, v, alpha=-1.0)
    with pytest.raises(ValueError, match="num_rounds: expected a positive whole number, got 0"):
        dci_trees(v, v, num_rounds=0)


def test_importances_below_zero_by_rounding_are_zero() -> None:
    importance = np.array([[1.0, -1e-17], [0.0, 1.0]])
    assert disentanglement(importance) == completeness(importance) == 1.0
    with pytest.raises(DataError, match="finite numbers of at least 0"):
        disentanglement(-importance)
