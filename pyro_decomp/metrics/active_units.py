"""How many dimensions the encoder uses."""

import numpy as np
from jaxtyping import Float

from pyro_decomp import arguments
from pyro_decomp.errors import DataError
from pyro_decomp.metrics.arrays import as_codes
from pyro_decomp.metrics.bootstrap import (
    Estimate,
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

    Raises:
        DataError: The codes are no matrix of finite numbers, or fewer than two rows.
        ValueError: ``threshold`` is negative.
    """
    arguments.annotated(active_units, locals(), num_resamples=0, seed=0)
    if not threshold >= 0:
        raise ValueError(f"threshold: expected at least 0, got {threshold}")
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
