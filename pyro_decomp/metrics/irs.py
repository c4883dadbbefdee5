"""Interventional robustness: how far a code moves while one factor is held."""

import math

import numpy as np
from jaxtyping import Float, Int

from pyro_decomp import arguments
from pyro_decomp.metrics.arrays import as_codes, as_factors
from pyro_decomp.metrics.bootstrap import estimate, without_interval
from pyro_decomp.metrics.score import Score

ROWS_OF_A_VALUE = 50  # in halves of fewer the highest quantile is the largest of a few deviations


def irs(
    codes: object,
    factors: object,
    *,
    quantile: float = 0.99,
    num_resamples: int = 100,
    seed: int = 0,
) -> Score:
    r"""Interventional robustness score: 1 where each dimension is settled by one factor.

    .. math::
        IRS_{dk} = 1 - \frac{\frac1{|G_k|} \sum_g Q_q\{|z_d - E[z_d|g]| : g_k = g\}}
        {\max |z_d - E z_d|}, \quad
        IRS = \frac{\sum_d m_d \max_k IRS_{dk}}{\sum_d m_d}

    with Q_q the quantile and m_d the denominator, so that dimensions that move far weigh more.
    Suter et al., "Robustly Disentangled Causal Mechanisms", 2019, section 4
    (https://arxiv.org/abs/1811.00007) with q = 1; the large study (Locatello et al. 2019) takes
    0.99 as here. It says nothing of whether several dimensions share a factor: duplicated codes
    score as high. Factors are taken to be independent and their values as likely; with few data to
    a value the deviations are too small and the score too high, up to 1 for one datum each.

    Dimensions that do not vary are left out; codes of which none varies score 0. The denominator
    has no limit where codes have none: the score of Gaussian codes creeps up with n, and the
    interval is for no population then. It is around the value itself: the biases of quantiles and
    of a maximum are of different orders in n, and no correction is known.

    Args:
        codes: [n, d], one a row.
        factors: [n, k], whole numbers, at least two that vary; constant ones are left out.
        quantile: q, above 0 and at most 1.
        num_resamples: Of the interval, which needs 50 rows for each value of the factor with most:
            of fewer a quantile is too small by more than its noise; 0 for none.
        seed: Of the interval.

    Returns:
        The score, with the ``matrix`` IRS [d, k] and the ``weights`` m [d] of the dimensions that
        vary.

    Raises:
        DataError: Codes or factors are no matrices of numbers with as many rows, or fewer
            than two factors vary.
        ArgumentError: ``quantile`` is out of its range.
    """
    arguments.annotated(irs, locals(), num_resamples=0, seed=0)
    arguments.number("(0, 1]", quantile=quantile)
    given = as_codes(codes)
    found = as_factors(factors, num_rows=len(given), compared=True)
    varies = given.min(0) < given.max(0)
    z, levels = given[:, varies], found.levels
    variant = {
        "quantile": quantile,
        "num_rows": len(z),
        "factors": found.columns,
        "constant_dims": np.flatnonzero(~varies).tolist(),
        "num_resamples": num_resamples,
        "seed": seed,
    }
    if not varies.any():
        return Score(
            name="irs",
            value=0.0,
            variant=variant,
            details={"matrix": np.zeros((0, levels.shape[1]))},
            **without_interval("no code varies")._asdict(),
        )
    matrix, weights = _matrix(z, levels, quantile)
    value = _score(matrix, weights)
    likely = estimate(
        lambda rows: _score(*_matrix(z[rows], levels[rows], quantile)),
        len(z),
        value=value,
        num_resamples=num_resamples,
        seed=seed,
        bounds=(0.0, 1.0),
        order=math.inf,
        least=ROWS_OF_A_VALUE * max(found.sizes),
    )
    return Score(
        name="irs",
        value=value,
        variant=variant,
        details={"matrix": matrix, "weights": weights},
        **likely._asdict(),
    )


def _score(matrix: Float[np.ndarray, "d k"], weights: Float[np.ndarray, " d"]) -> float:
    total = weights.sum()
    return float(matrix.max(1) @ weights / total) if total > 0 else 0.0


def _matrix(
    z: Float[np.ndarray, "n d"], levels: Int[np.ndarray, "n k"], quantile: float
) -> tuple[Float[np.ndarray, "d k"], Float[np.ndarray, " d"]]:
    """The scores of every dimension and factor, and the largest deviation of each dimension."""
    largest = np.abs(z - z.mean(0)).max(0)
    deviations = np.empty((z.shape[1], levels.shape[1]))
    for k, column in enumerate(levels.T):
        order = np.argsort(column, kind="stable")
        ends = np.flatnonzero(np.diff(column[order])) + 1
        groups = np.split(z[order].T.copy(), ends, axis=1)
        deviations[:, k] = np.mean([_deviation(group, quantile) for group in groups], axis=0)
    safe = np.where(largest > 0, largest, 1.0)
    return 1.0 - deviations / safe[:, None], largest


def _deviation(group: Float[np.ndarray, "d m"], quantile: float) -> Float[np.ndarray, " d"]:
    """The quantile of distances to the mean, in each row; linear between order statistics."""
    distances = np.abs(group - group.mean(1, keepdims=True))
    below, share = divmod((group.shape[1] - 1) * float(quantile), 1.0)
    first = int(below)
    second = min(first + 1, group.shape[1] - 1)
    ordered = np.partition(distances, (first, second), axis=1)  # np.quantile takes 10 times as long
    between: Float[np.ndarray, " d"] = (1 - share) * ordered[:, first] + share * ordered[:, second]
    return between
