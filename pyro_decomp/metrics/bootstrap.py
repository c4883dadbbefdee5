"""Confidence intervals over data rows, by half samples drawn without replacement."""

from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist

import numpy as np
from jaxtyping import Int

from pyro_decomp import arguments


def interval(
    statistic: Callable[[Int[np.ndarray, " half"]], float],
    num_rows: int,
    *,
    value: float | None = None,
    num_resamples: int = 100,
    seed: int = 0,
    level: float = 0.95,
    bounds: tuple[int | float, int | float] = (-np.inf, np.inf),
) -> tuple[float, float] | None:
    r"""A confidence interval for what ``statistic`` estimates from rows drawn from a population.

    .. math:: 2 t - m^* \pm u s^*

    with t the statistic of all n rows, :math:`m^*` and :math:`s^*` the mean and standard deviation
    of its values on random halves of them, and u the Normal quantile of the level. A mean over n/2
    of n rows, drawn without replacement, is as far from the mean of all as that is from the
    population's: the variance is :math:`\sigma^2/n` for both, so nothing is rescaled. Halves have
    no row twice, so that they suit what copies would spoil: nearest neighbours, classifiers scored
    on rows held out, mutual information from histograms.

    A bias that falls as 1/n, such as the plug-in mutual information's (cells - 1)/2n, is c/n more
    in a half than in all rows, and :math:`2 t - m^*` takes it off: the interval is one for the
    population's value, and can exclude t where the bias is larger than the noise.

    Not covered: statistics that are not smooth in the data, such as a maximum over near ties.

    Args:
        statistic: Maps indices of rows to a number.
        num_rows: n; fewer than 4 have no interval.
        value: t, where it is known; by default computed from all rows.
        num_resamples: How many halves, at least 2 (100 give the width to 7 %); 0 for no interval.
        seed: Of the halves.
        level: Probability that the interval covers the population's value.
        bounds: Least and largest value there can be.

    Returns:
        The interval, or None with ``num_resamples=0`` or fewer than 4 rows.

    Raises:
        ValueError: An argument is out of its range.

    Reference:
        Shao & Wu, A general theory for jackknife variance estimation, 1989 (delete-d),
        https://doi.org/10.1214/aos/1176347263; Politis & Romano, Large sample confidence regions
        based on subsamples under minimal assumptions, 1994,
        https://doi.org/10.1214/aos/1176325770.

    >>> x = np.arange(100.0)
    >>> low, high = interval(lambda rows: x[rows].mean(), 100)
    >>> bool(42 < low < 46 and 53 < high < 57)
    True
    """
    arguments.function(statistic=statistic)
    arguments.whole(0, num_rows=num_rows, num_resamples=num_resamples, seed=seed)
    arguments.number("(-inf, inf)", level=level, **arguments.given(value=value))
    arguments.instance(tuple, "the least and the largest value", bounds=bounds)
    if num_rows < 4:
        return None
    value = statistic(np.arange(num_rows)) if value is None else value
    halves = [statistic(rows) for rows in half_samples(num_rows, num_resamples, seed)]
    return interval_from_halves(value, halves, level=level, bounds=bounds)


def half_samples(
    num_rows: int, num_resamples: int, seed: int = 0
) -> Iterator[Int[np.ndarray, " half"]]:
    """Random halves of the rows, in ascending order, for :func:`interval_from_halves`.

    Args:
        num_rows: n, at least 4.
        num_resamples: How many, 0 or at least 2.
        seed: Of the halves.

    Raises:
        ValueError: An argument is out of its range.
    """
    if num_resamples < 0 or num_resamples == 1:
        raise ValueError(f"num_resamples: expected 0 or at least 2, got {num_resamples}")
    if num_resamples > 0 and num_rows < 4:
        raise ValueError(f"num_rows: expected at least 4, got {num_rows}")
    generator = np.random.default_rng(seed)
    for _ in range(num_resamples):
        yield np.sort(generator.permutation(num_rows)[: num_rows // 2])


def interval_from_halves(
    value: float,
    halves: Sequence[float],
    *,
    level: float = 0.95,
    bounds: tuple[int | float, int | float] = (-np.inf, np.inf),
) -> tuple[float, float] | None:
    """:func:`interval` from values already computed, for statistics that are cheaper together.

    Args:
        value: t, of all rows.
        halves: Values on the rows of :func:`half_samples`; none of them for no interval.
        level: Probability that the interval covers the population's value.
        bounds: Least and largest value there can be.

    Raises:
        ValueError: ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level}")
    if len(halves) == 0:
        return None
    centre = 2 * value - np.mean(halves)
    reach = NormalDist().inv_cdf((1 + level) / 2) * np.std(halves, ddof=1)
    return float(np.clip(centre - reach, *bounds)), float(np.clip(centre + reach, *bounds))
