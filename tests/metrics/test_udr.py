"""UDR against its definition and known relations of runs."""

import itertools

import numpy as np
import pytest
from scipy.stats import spearmanr

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import Score, udr

N = 400
Z = np.random.default_rng(0).normal(size=(N, 4))
ROTATION = np.linalg.qr(np.random.default_rng(1).normal(size=(4, 4)))[0]


def values(scores: list[Score]) -> list[float]:
    return [score.value for score in scores]


def uncorrelated(n: int, d: int) -> np.ndarray:
    """Codes whose ranks are uncorrelated exactly: a full grid."""
    side = round(n ** (1 / d))
    return np.array(list(itertools.product(range(side), repeat=d)), dtype=float)


def test_runs_that_agree_up_to_order_sign_and_a_monotone_map() -> None:
    z = uncorrelated(125, 3)
    scores = udr([z, -z[:, [2, 0, 1]], np.exp(z[:, [1, 2, 0]])])
    assert values(scores) == pytest.approx([1.0] * 3, abs=1e-12)


def test_the_formula() -> None:
    runs = [Z[:, :3], Z @ ROTATION, (Z @ ROTATION)[:, :2] + Z[:, 2:]]
    pairwise = np.zeros((3, 3))
    for i, j in itertools.permutations(range(3), 2):
        a, b = runs[i].shape[1], runs[j].shape[1]
        r = np.abs(spearmanr(runs[i], runs[j]).statistic[:a, a:])
        total = sum(r[:, k].max() ** 2 / r[:, k].sum() for k in range(b))
        total += sum(r[k].max() ** 2 / r[k].sum() for k in range(a))
        pairwise[i, j] = total / (a + b)
    scores = udr(runs, num_resamples=0)
    for j, score in enumerate(scores):
        pairwise[j, j] = np.nan
        assert score.details["pairwise"] == pytest.approx(pairwise[:, j], rel=1e-9, nan_ok=True)
        assert score.value == pytest.approx(np.delete(pairwise[:, j], j).mean())  # median of two


def test_ties_have_middle_ranks() -> None:
    one, other = np.rint(Z), np.rint(Z @ ROTATION)
    r = np.abs(spearmanr(one, other).statistic[:4, 4:])
    expected = sum((r.max(k) ** 2 / r.sum(k)).sum() for k in (0, 1)) / 8
    assert values(udr([one, other], num_resamples=0)) == pytest.approx([expected] * 2)


@pytest.mark.parametrize("similarity", ["spearman", "lasso"])
def test_the_run_that_is_rotated_comes_last(similarity: str) -> None:
    scores = udr([Z, Z[:, ::-1], -Z, Z @ ROTATION], similarity=similarity, num_resamples=30)
    assert all(score.value > scores[3].value + 0.2 for score in scores[:3])
    for score in scores:
        low, high = score.interval
        assert low <= score.value <= high
        assert high - low < 0.2


def test_lasso_of_uncorrelated_codes() -> None:
    """A dimension has the coefficient 1 - alpha for its partner, 0 for the others."""
    z = uncorrelated(125, 3)
    assert values(udr([z, 5 - 3 * z], similarity="lasso", alpha=0.2)) == pytest.approx([0.8] * 2)


def test_uninformative_dimensions_do_not_count() -> None:
    noise = np.random.default_rng(2).normal(size=(N, 2))
    runs, kl = [np.c_[Z, noise], np.c_[noise[:, :1], Z]], [[1] * 4 + [0.01, 0], [0.001, 1, 1, 1, 1]]
    for similarity in ("spearman", "lasso"):
        expected = values(udr([Z, Z], similarity=similarity, num_resamples=0))
        found = udr(runs, kl=kl, similarity=similarity, num_resamples=0)
        assert values(found) == pytest.approx(expected)
        assert found[1].variant["informative_dims"].tolist() == [1, 2, 3, 4]


def test_a_run_that_knows_nothing() -> None:
    scores = udr([Z, Z, np.ones((N, 4))], num_resamples=0)
    assert scores[2].value == 0.0


@pytest.mark.parametrize(
    ("runs", "kl", "message"),
    [
        ([Z], None, "runs: expected codes of at least 2 runs, got 1"),
        ([Z, Z[:9]], None, r"runs\[1\]: expected 400 rows, one a code, got 9"),
        ([Z[:3], Z[:3]], None, "runs: expected at least 4 rows for udr, got 3"),
        ([Z, Z], [np.ones(4)], "kl: expected one array for each of 2 runs, got 1"),
        ([Z, Z], [np.ones(4), np.ones(3)], r"kl\[1\]: expected shape \(4,\), one number a dim"),
    ],
)
def test_arrays_are_checked(runs: list[np.ndarray], kl: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        udr(runs, kl=kl)


def test_arguments_are_checked() -> None:
    with pytest.raises(
        ValueError, match="similarity: expected one of 'spearman', 'lasso', got 'ols'"
    ):
        udr([Z, Z], similarity="ols")
    with pytest.raises(ValueError, match="alpha: expected a positive number, got 0"):
        udr([Z, Z], alpha=0)
