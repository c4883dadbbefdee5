"""How many dimensions the encoder uses, and how few each code does."""

import math

import numpy as np
from jaxtyping import Float

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes, varying
from pyro_decomp.metrics.bootstrap import (
    Estimate,
    estimate,
    half_samples,
    why_no_halves,
    without_interval,
)
from pyro_decomp.metrics.score import Score


def active_units(
    codes: object, *, threshold: float = 1e-2, num_resamples: int = 100, seed: int = 0
) -> Score:
    r"""The number of dimensions whose mean code varies with the data.

    .. math:: AU = \#\{d : Var_x(E_{q(z|x)}[z_d]) > threshold\}

    Burda et al., "Importance Weighted Autoencoders", 2016, section 5.2
    (https://arxiv.org/abs/1509.00519). The threshold is in the squared unit of the codes and suits
    priors of variance 1. Give *mean* codes: a sampled code of a collapsed dimension has the
    prior's variance and counts as active. ``details`` has the variances, which say more.

    Args:
        codes: [n, d], the mean of each encoding, one a row.
        threshold: Least variance of an active dimension.
        num_resamples: Halves of the rows for the interval, which runs from the number of dimensions
            that are active in 97.5 % of them to those that are in 2.5 %; 0 for none. Away from the
            threshold a count has no noise, and the interval is the count alone.
        seed: Of the halves.

    Returns:
        The score, with the ``variances`` [d] of the mean codes.

    Raises:
        DataError: The codes are no matrix of finite numbers, or fewer than two rows.
        ArgumentError: ``threshold`` is negative.
    """
    arguments.annotated(active_units, locals(), num_resamples=0, seed=0)
    arguments.number("[0, inf)", threshold=threshold)
    threshold = float(threshold)
    z = as_codes(codes)
    if len(z) < 2:
        raise DataError(f"codes: expected at least 2 rows for active_units, got {len(z)}")
    variances = z.var(0, ddof=1)
    value = float((variances > threshold).sum())
    variant = {
        "threshold": threshold,
        "num_rows": len(z),
        "codes": "mean",
        "num_resamples": num_resamples,
        "seed": seed,
    }
    return Score(
        name="active_units",
        value=value,
        variant=variant,
        details={"variances": variances},
        **_estimate(z, value, threshold, num_resamples, seed)._asdict(),
    )


def _estimate(
    z: Float[np.ndarray, "n d"], value: float, threshold: float, num_resamples: int, seed: int
) -> Estimate:
    """How many dimensions are active in nearly all halves of the rows, and in more than a few."""
    if reason := why_no_halves(len(z), num_resamples):
        return without_interval(reason)
    halves = half_samples(len(z), num_resamples, seed)
    active = [z[rows].var(0, ddof=1) > threshold for rows in halves]
    share = np.mean(active, axis=0)
    low, high = float((share >= 0.975).sum()), float((share > 0.025).sum())
    return Estimate(value, (min(low, value), max(high, value)))


def hoyer_sparsity(codes: object, *, num_resamples: int = 100, seed: int = 0) -> Score:
    r"""Mean over the data of the codes' Hoyer sparsity, each dimension over its own scale.

    .. math::
        \frac1n \sum_i Hoyer(z_i / \sigma),
        \quad Hoyer(y) = \frac{\sqrt d - |y|_1 / |y|_2}{\sqrt d - 1}

    with sigma the standard deviation of each dimension over the data. 0 where all dimensions of a
    code are as large, 1 where one alone is not 0; a standard Normal in 50 dimensions has about
    0.23. Mathieu et al. 2019, "Disentangling Disentanglement in Variational Autoencoders", section
    6.3 (https://arxiv.org/abs/1812.02833); Hurley & Rickard, "Comparing Measures of Sparsity", 2009
    (https://doi.org/10.1109/TIT.2009.2027527).

    A collapsed dimension varies a little, and division by its scale makes it count as any other:
    look at :func:`active_units` too. Dimensions that do not vary at all are left out, and d is that
    of the others. Codes are not centred: 0 is where the prior has its spike. A code of zeros alone
    has no sparsity and is left out; ``variant`` has how many.

    Args:
        codes: [n, d], one a row.
        num_resamples: Of the interval; 0 for none.
        seed: Of the interval.

    Returns:
        The score; it has no details.

    Raises:
        DataError: The codes are no matrix of finite numbers, all zero, or fewer than two dimensions
            vary: in one dimension, sparsity is not defined.
    """
    arguments.annotated(hoyer_sparsity, locals(), num_resamples=0, seed=0)
    given = as_codes(codes)
    z, constant = varying(given, least=2, metric="hoyer_sparsity")
    used = (z != 0).any(1)
    if not used.any():
        raise DataError("codes: expected a code other than zero for hoyer_sparsity, got none")
    value = _mean_hoyer(z)
    likely = estimate(
        lambda rows: _mean_hoyer(z[rows]),
        len(z),
        value=value,
        num_resamples=num_resamples,
        seed=seed,
        bounds=(0.0, 1.0),
    )
    variant = {
        "num_rows": len(z),
        "zero_rows": int(np.sum(~used)),
        "constant_dims": constant,
        "num_resamples": num_resamples,
        "seed": seed,
    }
    return Score(
        name="hoyer_sparsity",
        value=value,
        variant=variant,
        **likely._asdict(),
    )


def hoyer(y: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
    """Hoyer's sparsity of each row, of at least two columns, not all zero; internal.

    >>> hoyer(np.array([[0.0, 3.0], [2.0, -2.0]])).round(12).tolist()
    [1.0, 0.0]
    """
    root = math.sqrt(y.shape[1])
    largest = np.abs(y).max(1, keepdims=True)  # squares of it neither overflow nor vanish
    ratio = np.abs(y / largest).sum(1) / np.linalg.norm(y / largest, axis=1)
    return (root - ratio) / (root - 1)


def _mean_hoyer(z: Float[np.ndarray, "n d"]) -> float:
    """The mean sparsity of some rows; a dimension that does not vary among them has scale 1."""
    scale = z.std(0)
    used = (z != 0).any(1)
    return float(hoyer(z[used] / np.where(scale > 0, scale, 1.0)).mean()) if used.any() else 0.0
