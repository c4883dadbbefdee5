"""DCI: disentanglement, completeness and informativeness, by lasso or by boosted trees."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_array, as_codes, as_factors, standardised
from pyro_decomp.metrics.bootstrap import Estimate, estimate_from_halves, half_samples
from pyro_decomp.metrics.fitting import held_out_split, scikit
from pyro_decomp.metrics.score import Score

_SWEEPS = 1000
_TOLERANCE = 1e-6
_ROUNDING = 1e-9  # of the largest importance: below zero by less is zero


def lasso_coefficients(
    gram: Float[np.ndarray, "*pairs d d"], cross: Float[np.ndarray, "*pairs d e"], alpha: float
) -> Float[np.ndarray, "*pairs d e"]:
    r"""Coefficients w of min |y - X w|^2 / 2n + alpha |w|_1, for many regressions at once.

    By cyclic coordinate descent, :math:`w_j = S_\alpha(c_j - \sum_{k \ne j} G_{jk} w_k) / G_{jj}`
    with the soft threshold S, until no coefficient moves by more than 1e-6 in a sweep. Friedman et
    al., "Regularization Paths for Generalized Linear Models via Coordinate Descent", 2010, section
    2.2 (https://doi.org/10.18637/jss.v033.i01). All regressions of all pairs of runs go through one
    loop, which is why this is not left to scikit-learn: a fit a target takes 100 times as long.

    Args:
        gram: G = X^T X / n; a variable with G_jj = 0 gets coefficient 0.
        cross: c = X^T y / n, a column a target.
        alpha: Weight of the penalty.

    >>> lasso_coefficients(np.eye(2), np.array([[0.5], [-0.05]]), alpha=0.1).ravel().tolist()
    [0.4, 0.0]
    """
    coefficients = np.zeros(cross.shape)
    residual = cross.copy()  # c - G w
    diagonal = np.diagonal(gram, axis1=-2, axis2=-1)
    for _ in range(_SWEEPS):
        largest = 0.0
        for j in range(gram.shape[-1]):
            scale = diagonal[..., j, None]
            old = coefficients[..., j, :]
            target = residual[..., j, :] + scale * old
            shrunk = np.sign(target) * np.maximum(np.abs(target) - alpha, 0.0)
            step = np.where(scale > 0, shrunk / np.where(scale > 0, scale, 1.0), 0.0) - old
            residual -= gram[..., :, j, None] * step[..., None, :]
            coefficients[..., j, :] += step
            largest = max(largest, float(np.abs(step).max(initial=0.0)))
        if largest < _TOLERANCE:
            break
    return coefficients


def disentanglement(importance: Float[np.ndarray, "d k"]) -> float:
    r"""Disentanglement of importances: does each code matter to one factor only.

    .. math:: \sum_j \rho_j (1 - H_K(P_j)), \quad P_{jk} = R_{jk} / \sum_k R_{jk}

    with entropy to base K, the number of factors, and codes weighted by their share
    :math:`\rho_j` of all importance R. 1 at best; 0 where nothing matters. With one factor, 1.

    Args:
        importance: R, at least 0.

    Returns:
        A number from 0 to 1.

    Reference:
        Eastwood & Williams, A framework for the quantitative evaluation of disentangled
        representations, 2018, section 2, https://openreview.net/forum?id=By-7dz-AZ.

    >>> round(disentanglement(np.array([[1.0, 0.0], [1.0, 1.0]])), 4)
    0.3333
    """
    arguments.annotated(disentanglement, locals())
    return _weighted_certainty(_importance(importance))


def completeness(importance: Float[np.ndarray, "d k"]) -> float:
    r"""Completeness of importances: does each factor rely on one code only.

    .. math:: \sum_k \rho_k (1 - H_D(\tilde{P}_k)), \quad \tilde{P}_{jk} = R_{jk} / \sum_j R_{jk}

    with entropy to base D, the number of codes, and factors weighted by their share
    :math:`\rho_k` of all importance R, as in the large study. 1 at best; 0 where nothing matters.
    With one code, 1.

    Args:
        importance: R, at least 0.

    Returns:
        A number from 0 to 1.

    Reference:
        As :func:`disentanglement`.

    >>> round(completeness(np.array([[1.0, 0.0], [1.0, 1.0]])), 4)
    0.3333
    """
    arguments.annotated(completeness, locals())
    return _weighted_certainty(_importance(importance).T)


def _importance(given: object) -> Float[np.ndarray, "d k"]:
    found = as_array(given, "importance")
    lowest = -_ROUNDING * np.abs(found).max(initial=0.0)  # boosted trees give such
    if found.ndim != 2 or not (np.isfinite(found).all() and (found >= lowest).all()):
        what = "an array [d, k] of finite numbers of at least 0"
        got = f"shape {found.shape}" if found.ndim != 2 else "others"
        raise DataError(f"importance: expected {what}, got {got}")
    return np.maximum(found, 0.0)


def _weighted_certainty(weights: Float[np.ndarray, "a b"]) -> float:
    """One less the entropy of each row, averaged with the rows' totals as weights."""
    totals = weights.sum(1)
    if totals.sum() <= 0:
        return 0.0
    shares = weights / np.where(totals > 0, totals, 1.0)[:, None]
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(1) / np.log(
        max(2, weights.shape[1])
    )
    return float(totals @ (1 - entropy) / totals.sum())


def dci_lasso(
    codes: object,
    factors: object,
    *,
    alpha: int | float = 0.02,
    held_out: float = 1 / 3,
    num_resamples: int = 100,
    seed: int = 0,
) -> Score:
    r"""DCI disentanglement, with completeness and informativeness beside it, by lasso.

    .. math:: R_{jk} = |w_{jk}|, \quad
        w_k = \arg\min_w \tfrac{1}{2n} |v_k - Z w|^2 + \alpha |w|_1

    on standardised codes Z and factors v, whose values count as numbers: a factor without an order
    (a shape) is better served by :func:`.dci_trees`. DCI's value depends on what R is: scores by
    lasso and by trees do not compare. Of codes that are copies, one takes all the importance.

    Args:
        codes: [n, d], one row a datum.
        factors: [n, k] whole numbers; at least two that vary; constant columns are left out.
        alpha: Weight of the penalty.
        held_out: Share of rows that score informativeness.
        num_resamples: Half samples of the training rows for the intervals (:class:`.Score`); 0
            for none.
        seed: Of the split and the half samples.

    Returns:
        The score is :func:`.disentanglement`; in the details are ``completeness``, its
        ``completeness_corrected`` and ``completeness_interval``, the ``importance`` [d, k], and
        ``informativeness`` [k], the squared error explained on rows held out, 1 at best.

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), fewer than two factors vary, or
            there are too few rows.
        ArgumentError: ``alpha`` is negative, or ``held_out`` is not between 0 and 1.

    Reference:
        Eastwood & Williams, A framework for the quantitative evaluation of disentangled
        representations, 2018, https://openreview.net/forum?id=By-7dz-AZ.
    """
    arguments.annotated(dci_lasso, locals(), num_resamples=0, seed=0)
    arguments.number("[0, inf)", alpha=alpha)
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z), compared=True)
    d, v = z.shape[1], levels.numbers()
    train, test = held_out_split(len(z), held_out, seed)
    both = np.hstack([z, v])
    both = standardised(both, of=both[train])
    halves = half_samples(len(train), num_resamples, seed)
    samples = [np.arange(len(train)), *halves]
    moments = np.stack([_correlation(both[train[rows]]) for rows in samples])
    coefficients = lasso_coefficients(moments[:, :d, :d], moments[:, :d, d:], float(alpha))
    importance = np.abs(coefficients[0])
    spread = both[test, d:].var(0)
    error = ((both[test, d:] - both[test, :d] @ coefficients[0]) ** 2).mean(0)

    def measured(
        measure: Callable[[Float[np.ndarray, "d k"]], float],
    ) -> tuple[float, Estimate]:
        value, *others = map(measure, np.abs(coefficients))
        return value, estimate_from_halves(value, others, bounds=(0, 1))

    value, likely = measured(disentanglement)
    complete, likely_complete = measured(completeness)
    return Score(
        name="dci_lasso",
        value=value,
        **likely._asdict(),
        variant={
            "importance": "lasso",
            "alpha": alpha,
            "held_out": held_out,
            "num_rows": len(z),
            "factors": levels.columns,
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={
            "completeness": complete,
            "completeness_corrected": likely_complete.corrected,
            "completeness_interval": likely_complete.interval,
            "importance": importance,
            "informativeness": 1 - error / np.where(spread > 0, spread, 1.0),
        },
    )


def _correlation(x: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "c c"]:
    """The correlations of columns; 0 with those that are constant, themselves included."""
    x = x - x.mean(0)
    scale = x.std(0)
    x = x / np.where(scale > 0, scale, 1.0)
    return x.T @ x / len(x)


def dci_trees(
    codes: object,
    factors: object,
    *,
    num_rounds: int = 100,
    held_out: float = 1 / 3,
    seed: int = 0,
) -> Score:
    """DCI disentanglement, with completeness and informativeness beside it, by boosted trees.

    R_jk is the importance of code j to gradient-boosted trees that classify factor k: the share of
    impurity that its splits take away, scikit-learn's ``GradientBoostingClassifier`` at its
    defaults. This is the large study's variant; scores by trees and by lasso do not compare. It is
    slow: a tree a round and a value of each factor, minutes for 10,000 rows and dSprites' factors.
    For the same reason there is no interval.

    Args:
        codes: [n, d], one row a datum.
        factors: [n, k] whole numbers; at least two that vary; constant columns are left out.
        num_rounds: Rounds of boosting.
        held_out: Share of rows that score informativeness.
        seed: Of the split and the trees.

    Returns:
        The score is :func:`.disentanglement`; in the details are ``completeness``, the
        ``importance`` [d, k], and ``informativeness`` [k], the accuracy on rows held out.

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), fewer than two factors vary, there
            are too few rows, or scikit-learn is not installed.
        ArgumentError: ``num_rounds`` is less than 1, or ``held_out`` is not between 0 and 1.

    Reference:
        Eastwood & Williams, A framework for the quantitative evaluation of disentangled
        representations, 2018, https://openreview.net/forum?id=By-7dz-AZ; trees as in Locatello et
        al., 2019, appendix B, https://arxiv.org/abs/1811.12359.
    """
    arguments.annotated(dci_trees, locals(), num_rounds=1, seed=0)
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z), compared=True)
    train, test = held_out_split(len(z), held_out, seed)
    importance = np.zeros([z.shape[1], len(levels.columns)])
    accuracy = np.zeros(len(levels.columns))
    for k, labels in enumerate(levels.levels.T):
        if len(np.unique(labels[train])) == 1:  # nothing to learn
            accuracy[k] = (labels[test] == labels[train[0]]).mean()
            continue
        trees = scikit("ensemble").GradientBoostingClassifier(
            n_estimators=num_rounds, random_state=int(seed)
        )
        trees.fit(z[train], labels[train])
        importance[:, k] = trees.feature_importances_
        accuracy[k] = trees.score(z[test], labels[test])
    return Score(
        name="dci_trees",
        value=disentanglement(importance),
        no_interval="halves of the rows would take minutes each",
        variant={
            "importance": "gradient-boosted trees",
            "num_rounds": num_rounds,
            "held_out": held_out,
            "num_rows": len(z),
            "factors": levels.columns,
            "seed": seed,
        },
        details={
            "completeness": completeness(importance),
            "importance": importance,
            "informativeness": accuracy,
        },
    )
