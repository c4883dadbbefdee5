"""Explicitness: can every value of every factor be told from the codes linearly."""

import numpy as np
from jaxtyping import Bool, Float, Int

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes, as_factors, standardised
from pyro_decomp.metrics.bootstrap import estimate
from pyro_decomp.metrics.fitting import held_out_split, scikit
from pyro_decomp.metrics.score import Score


def explicitness(
    codes: object,
    factors: object,
    *,
    held_out: float = 1 / 3,
    num_resamples: int = 50,
    seed: int = 0,
) -> Score:
    """Explicitness of codes: how well logistic regressions tell each value of each factor.

    The area under the receiver operating characteristic of one regression for each value against
    the others (penalty 1, on standardised codes), on rows held out; its mean over the values of a
    factor, and the mean of those over factors. 0.5 is chance and 1 is best. All codes are used at
    once: rotating them changes nothing but the penalty's share.

    Args:
        codes: [n, d], one row a datum.
        factors: [n, k] whole numbers; constant columns are left out. A value that is not among both
            the training and the held-out rows is left out of the mean.
        held_out: Share of rows that score.
        num_resamples: Half samples of the held-out rows for the interval (:class:`.Score`), with
            the regressions as they are; 0 for none.
        seed: Of the split and the half samples.

    Returns:
        The score, with the ``areas`` [k] of the factors.

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), no value is among both kinds of rows,
            or scikit-learn is not installed.
        ArgumentError: ``held_out`` is not between 0 and 1.

    Reference:
        Ridgeway & Mozer, Learning deep disentangled embeddings with the F-statistic loss, 2018,
        section 3, https://arxiv.org/abs/1802.05312.
    """
    arguments.annotated(explicitness, locals(), num_resamples=0, seed=0)
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z))
    train, test = held_out_split(len(z), held_out, seed)
    z = standardised(z, of=z[train])
    regression = scikit("linear_model").LogisticRegression(solver="newton-cholesky")
    ranks, positive, factor = [], [], []
    for k, size in enumerate(levels.sizes):
        for level in range(size):
            is_level = levels.levels[:, k] == level
            if all(np.unique(is_level[rows]).size == 2 for rows in (train, test)):
                logits = regression.fit(z[train], is_level[train]).decision_function(z[test])
                ranks.append(np.unique(logits, return_inverse=True)[1])
                positive.append(is_level[test])
                factor.append(k)
    if not ranks:
        raise DataError(
            "factors: expected a value among both the rows that train and those that score "
            "for explicitness, got none"
        )
    rank, known, of_factor = np.stack(ranks, 1), np.stack(positive, 1), np.array(factor)

    def areas(rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, " k"]:
        area = area_under_curve(rank[rows], known[rows])
        found = np.isfinite(area)
        weight = np.bincount(of_factor[found], minlength=len(levels.columns))
        total = np.bincount(of_factor[found], area[found], minlength=len(levels.columns))
        return np.where(weight > 0, total / np.maximum(weight, 1), np.nan)

    def statistic(rows: Int[np.ndarray, " m"]) -> float:
        return float(np.nanmean(areas(rows)))

    everything = np.arange(len(test))
    value = statistic(everything)
    return Score(
        name="explicitness",
        value=value,
        **estimate(
            statistic, len(test), value=value, num_resamples=num_resamples, seed=seed, bounds=(0, 1)
        )._asdict(),
        variant={
            "classifier": "logistic regression, one value against the rest",
            "held_out": held_out,
            "num_rows": len(z),
            "factors": levels.columns,
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={"areas": areas(everything)},
    )


def area_under_curve(
    ranks: Int[np.ndarray, "n c"], positive: Bool[np.ndarray, "n c"]
) -> Float[np.ndarray, " c"]:
    """The chance that a positive row ranks above a negative one, a tie counting half.

    Args:
        ranks: Whole numbers from 0, a column a classifier; larger for what seems more positive.
        positive: Which rows are; a column of one kind alone gives NaN.

    >>> area_under_curve(np.array([[0], [1], [1]]), np.array([[False], [True], [False]])).tolist()
    [0.75]
    """
    columns, size = ranks.shape[1], int(ranks.max()) + 1
    cells = ranks + size * np.arange(columns)
    count = np.bincount(cells.ravel(), minlength=columns * size).reshape(columns, size)
    hits = np.bincount(cells[positive], minlength=columns * size).reshape(columns, size)
    misses = count - hits
    below = misses.cumsum(1) - misses / 2
    pairs = hits.sum(1) * misses.sum(1)
    return np.where(pairs > 0, (hits * below).sum(1) / np.maximum(pairs, 1), np.nan)
