"""Lasso from moments against its optimality conditions and scikit-learn."""

import numpy as np
import pytest

from pyro_decomp.metrics.lasso import lasso_coefficients

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
