"""Means of a few runs, with what is known of them."""

import math
from collections.abc import Sequence

import numpy as np


def mean_with_interval(values: Sequence[float]) -> str:
    """``mean ± half-width`` of the 95 % interval by Student's t; of one value, that value."""
    if len(values) == 1:
        return f"{values[0]:.4g}"
    half_width = t_quantile(len(values) - 1) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    decimals = 3 if half_width == 0 else min(4, max(0, 1 - math.floor(math.log10(half_width))))
    return f"{np.mean(values):.{decimals}f} ± {half_width:.{decimals}f}"


def t_quantile(degrees: int, level: float = 0.95) -> float:
    """The t with P(|T| < t) = level: T = sqrt(degrees) tan(A), A's density as cos^(degrees - 1)."""
    angle = np.linspace(0.0, np.pi / 2, 100_001)
    density = np.cos(angle) ** (degrees - 1)
    mass = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return float(degrees**0.5 * np.tan(np.interp(level * mass[-1], mass, angle)))
