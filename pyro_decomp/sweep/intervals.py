"""Means over seeds, with what is known of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError


@dataclass(frozen=True)
class MeanInterval:
    """A mean with its confidence interval.

    Attributes:
        mean: The mean; not a number where there are no values.
        half_width: Half of the interval's width; None where there is one value or none.
        size: How many values there are.
    """

    mean: float
    half_width: float | None
    size: int

    @property
    def low(self) -> float | None:
        """The lower end of the interval; None where there is none."""
        return None if self.half_width is None else self.mean - self.half_width

    @property
    def high(self) -> float | None:
        """The upper end of the interval; None where there is none."""
        return None if self.half_width is None else self.mean + self.half_width

    def __str__(self) -> str:
        """``mean ± half-width``, to two digits of the half-width; of one value, that value."""
        if self.half_width is None:
            return f"{self.mean:.4g}" if self.size else "-"
        width = self.half_width
        digits = 1 - math.floor(math.log10(width)) if 0 < width < math.inf else 3
        decimals = min(max(digits, 0), 6)
        return f"{self.mean:.{decimals}f} ± {width:.{decimals}f}"


def mean_interval(values: ArrayLike | Sequence[float], level: float = 0.95) -> MeanInterval:
    r"""The mean of independent values with the interval of Student's t.

    :math:`\bar x \pm t_{n-1,\,(1+\ell)/2}\, s / \sqrt n` with the sample standard deviation
    :math:`s`: it covers the true mean with probability :math:`\ell` where the values are Normal,
    and nearly so for the means of runs over seeds.

    >>> print(mean_interval([1.0, 2.0, 3.0]))
    2.0 ± 2.5

    Args:
        values: The values [n]; n may be 0 or 1, and then there is no interval.
        level: Its probability :math:`\ell`, between 0 and 1.

    Returns:
        The mean, with half of the interval's width where n is 2 or more.
    """
    arguments.annotated(mean_interval, locals())
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ArgumentError(f"values: expected shape (n,), got {x.shape}")
    arguments.number("(0, 1)", level=level)
    if len(x) < 2:
        return MeanInterval(float(x[0]) if len(x) else math.nan, None, len(x))
    quantile = stdtrit(len(x) - 1, (1 + level) / 2)
    half_width = float(quantile * x.std(ddof=1) / len(x) ** 0.5)
    return MeanInterval(float(x.mean()), half_width, len(x))
