"""Means of a few runs, with what is known of them."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats


def mean_with_interval(values: Sequence[float]) -> str:
    """``mean ± half-width`` of the 95 % interval by Student's t; of one value, that value."""
    if len(values) == 1:
        return f"{values[0]:.4g}"
    half_width = half_width_of_interval(values)
    decimals = 3 if half_width == 0 else min(4, max(0, 1 - math.floor(math.log10(half_width))))
    return f"{np.mean(values):.{decimals}f} ± {half_width:.{decimals}f}"


def half_width_of_interval(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean, by Student's t."""
    quantile = stats.t.ppf(0.975, len(values) - 1)
    return float(quantile * np.std(values, ddof=1) / len(values) ** 0.5)
