"""DCI with lasso regressions for the importance of codes."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from pyro_decomp import arguments
from pyro_decomp.metrics.arrays import as_codes, as_factors
from pyro_decomp.metrics.bootstrap import Estimate, estimate_from_halves, half_samples
from pyro_decomp.metrics.dci import completeness, disentanglement
from pyro_decomp.metrics.held_out import held_out_split
from pyro_decomp.metrics.lasso import lasso_coefficients
from pyro_decomp.metrics.score import Score


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
        num_resamples: Half samples of the training rows for the intervals (:func:`.interval`); 0
            for none.
        seed: Of the split and the half samples.

    Returns:
        The score is :func:`.disentanglement`; in the details are ``completeness``, its
        ``completeness_corrected`` and ``completeness_interval``, the ``importance`` [d, k], and
        ``informativeness`` [k], the squared error explained on rows held out, 1 at best.

    Raises:
        DataError: The arrays cannot be used (:mod:`.arrays`), fewer than two factors vary, or
            there are too few rows.
        ValueError: ``alpha`` is negative, or ``held_out`` is not between 0 and 1.

    Reference:
        Eastwood & Williams, A framework for the quantitative evaluation of disentangled
        representations, 2018, https://openreview.net/forum?id=By-7dz-AZ.
    """
    arguments.annotated(dci_lasso, locals(), num_resamples=0, seed=0)
    if alpha < 0:
        raise ValueError(f"alpha: expected at least 0, got {alpha}")
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z), compared=True)
    d, v = z.shape[1], levels.numbers()
    train, test = held_out_split(len(z), held_out, seed)
    both = np.hstack([z, v])
    location, scale = both[train].mean(0), both[train].std(0)
    both = (both - location) / np.where(scale > 0, scale, 1.0)
    halves = half_samples(len(train), num_resamples, seed)
    samples = [np.arange(len(train)), *halves]
    moments = np.stack([_correlation(both[train[rows]]) for rows in samples])
    coefficients = lasso_coefficients(moments[:, :d, :d], moments[:, :d, d:], alpha)
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
    """Between columns; 0 with those that are constant, themselves included."""
    x = x - x.mean(0)
    scale = x.std(0)
    x = x / np.where(scale > 0, scale, 1.0)
    return x.T @ x / len(x)
