"""What every metric returns: a value, its interval, and all that it depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, repr=False)
class Score:
    r"""A metric's value, and what the rows say of the population's.

    Unless the metric says otherwise, the interval is

    .. math::
        c \pm u s^* \sqrt{1 + g^2/R}, \quad c = t + g (t - m^*), \quad g = 1/(2^r - 1)

    with t the value of all n rows, :math:`m^*` and :math:`s^*` the mean and standard deviation of
    the values of R random halves of them, and u the quantile of Student's t with R - 1 degrees of
    freedom. A mean over n/2 of n rows, drawn without replacement, is as far from the mean of all as
    that is from the population's: the variance is :math:`\sigma^2/n` for both, so nothing is
    rescaled. Halves have no row twice, so that they suit what copies would spoil: nearest
    neighbours, classifiers scored on rows held out, mutual information from histograms.

    A bias that falls as :math:`n^{-r}` is :math:`2^r - 1` times itself more in a half than in all
    rows, and c, the corrected value, is free of it. Most biases have r = 1, such as the plug-in
    mutual information's (cells - 1)/2n, and then :math:`c = 2 t - m^*`. The interval can exclude t
    where the bias is larger than the noise. It does not cover statistics that are not smooth in the
    data, such as a maximum over near ties.

    Attributes:
        name: The metric, as its function is called.
        value: The score of these rows (the plug-in value, as papers print it), in the unit that
            the function's documentation names.
        interval: 95 % confidence interval for the population's value; None where there is none.
        variant: All that the value depends on beside the data: estimator, bins, number of rows,
            factors used, dimensions pruned, seed. Two scores compare only where these agree.
        details: Arrays that the value was made from, such as ``mutual_information`` [d, k].
        corrected: The value less its bias, which lies within the interval; the value itself where
            no correction is known. None where there is no interval.
        no_interval: Why there is no interval; None where there is one.

    Reference:
        Shao & Wu, A general theory for jackknife variance estimation, 1989 (delete-d),
        https://doi.org/10.1214/aos/1176347263; Politis & Romano, Large sample confidence regions
        based on subsamples under minimal assumptions, 1994,
        https://doi.org/10.1214/aos/1176325770.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None
    variant: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    corrected: float | None = None
    no_interval: str | None = None

    def __repr__(self) -> str:
        value = self.value if self.corrected is None else self.corrected
        ends = "" if self.interval is None else " [{:.4g}, {:.4g}]".format(*self.interval)
        return f"{type(self).__name__}({self.name} {value:.4g}{ends})"

    def to_json(self) -> dict[str, Any]:
        """Convert the score to plain values: arrays become lists, and NaN and infinity None.

        Returns:
            The attributes by name.
        """
        return {
            "name": self.name,
            "value": _plain(self.value),
            "interval": _plain(self.interval),
            "variant": _plain(self.variant),
            "details": _plain(self.details),
            "corrected": _plain(self.corrected),
            "no_interval": self.no_interval,
        }


def _plain(value: Any) -> Any:
    """Convert a value to the types of JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset | range):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
