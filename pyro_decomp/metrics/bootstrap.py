"""Confidence intervals over rows, by half samples drawn without replacement. Internal."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from pyro_decomp import arguments

MOST_RESAMPLES = 1_000_000  # of which an interval's width is known to a thousandth

# scipy is loaded once there is something to score.
# ruff: noqa: PLC0415


class Estimate(NamedTuple):
    """The corrected value and the interval of a :class:`.Score`, or why there is neither; internal.

    Attributes:
        corrected: The value less its bias, the centre of the interval as far as bounds allow.
        interval: Its ends; the corrected value is between them.
        no_interval: Why there is neither; None where there are both.
    """

    corrected: float | None
    interval: tuple[float, float] | None
    no_interval: str | None = None


def without_interval(reason: str) -> Estimate:
    """An estimate without an interval, for a reason."""
    return Estimate(None, None, reason)


def why_no_halves(num_rows: int, num_resamples: int, *, least: int = 4) -> str | None:
    """The reason why there can be no interval by halves; None where there can.

    Args:
        num_rows: n.
        num_resamples: How many halves are asked for.
        least: How many rows there must be.
    """
    if num_resamples == 0:
        return "none was asked for (num_resamples = 0)"
    return None if num_rows >= least else f"expected at least {least} rows, got {num_rows}"


def estimate(
    statistic: Callable[[Int[np.ndarray, " half"]], float],
    num_rows: int,
    *,
    value: float | None = None,
    num_resamples: int = 100,
    seed: int = 0,
    level: float = 0.95,
    bounds: tuple[int | float, int | float] = (-np.inf, np.inf),
    order: float = 1.0,
    least: int = 4,
) -> Estimate:
    """The corrected value and the interval of a :class:`.Score`, from half samples.

    Args:
        statistic: Maps indices of rows to a number.
        num_rows: n.
        value: t, where it is known; by default computed from all rows.
        num_resamples: R, how many halves, at least 2; 0 for no interval. The width is 2 % larger
            with 100 than with many, and 9 % with 20.
        seed: Of the halves.
        level: Probability that the interval covers the population's value.
        bounds: Least and largest value there can be.
        order: r, above 0; infinity for a statistic without bias, whose interval is around t.
        least: Fewer rows than these have no interval.

    Returns:
        Both, or why there is neither: too few rows, ``num_resamples=0``, or a value of all rows or
        of a half that is not a finite number.

    Raises:
        ArgumentError: An argument is out of its range.

    >>> x = np.arange(100.0)
    >>> low, high = estimate(lambda rows: x[rows].mean(), 100).interval
    >>> bool(42 < low < 46 and 53 < high < 57)
    True
    """
    if reason := why_no_halves(num_rows, num_resamples, least=least):
        return without_interval(reason)
    value = statistic(np.arange(num_rows)) if value is None else value
    halves = [statistic(rows) for rows in half_samples(num_rows, num_resamples, seed)]
    return estimate_from_halves(value, halves, level=level, bounds=bounds, order=order)


def estimate_of_accuracy(
    counted: Callable[[Int[np.ndarray, " m"]], tuple[int, int]],
    first: tuple[int, int],
    num_rows: int,
    *,
    num_resamples: int,
    seed: int,
    least: int = 4,
) -> Estimate:
    """:func:`estimate` of the share of random questions about rows that are answered rightly.

    The correction doubles the questions' noise in t, so that t is the mean of four sets of
    questions about all rows: c then has that of one, as each half has. The interval holds that of
    Clopper & Pearson (1934) for the questions of these four alone, without which a share of 1 would
    have an interval of no width.

    Args:
        counted: Maps indices of rows to the right answers among new questions about them, and the
            number of questions.
        first: The same of all rows, already counted.
        num_rows: n.
        num_resamples: How many halves, at least 2; 0 for no interval.
        seed: Of the halves.
        least: Fewer rows than these have no interval.
    """
    from scipy.special import betaincinv

    if reason := why_no_halves(num_rows, num_resamples, least=least):
        return without_interval(reason)
    every = np.arange(num_rows)
    right, total = np.sum([first, *(counted(every) for _ in range(3))], axis=0).tolist()

    def share(rows: Int[np.ndarray, " half"]) -> float:
        found, asked = counted(rows)
        return found / asked

    value, bounds = right / total, (0.0, 1.0)
    found = estimate(
        share, num_rows, value=value, num_resamples=num_resamples, seed=seed, bounds=bounds
    )
    assert found.interval is not None
    low, high = found.interval
    if right > 0:
        low = min(low, float(betaincinv(right, total - right + 1, 0.025)))
    if right < total:
        high = max(high, float(betaincinv(right + 1, total - right, 0.975)))
    return Estimate(found.corrected, (low, high))


def half_samples(
    num_rows: int, num_resamples: int, seed: int = 0
) -> Iterator[Int[np.ndarray, " half"]]:
    """Random halves of the rows, in ascending order, for :func:`estimate_from_halves`.

    Args:
        num_rows: n, at least 4.
        num_resamples: How many, 0 or from 2 to 1,000,000.
        seed: Of the halves.

    Raises:
        ArgumentError: An argument is out of its range.
    """
    if num_resamples < 0 or num_resamples == 1:
        arguments.refuse("num_resamples", "0 or at least 2", num_resamples)
    if num_resamples > MOST_RESAMPLES:
        arguments.refuse("num_resamples", f"at most {MOST_RESAMPLES}", num_resamples)
    if num_resamples > 0 and num_rows < 4:
        arguments.refuse("num_rows", "at least 4", num_rows)
    generator = np.random.default_rng(int(seed))
    for _ in range(num_resamples):
        yield np.sort(generator.permutation(num_rows)[: num_rows // 2])


def estimate_from_halves(
    value: float,
    halves: ArrayLike,
    *,
    level: float = 0.95,
    bounds: tuple[int | float, int | float] = (-np.inf, np.inf),
    order: float = 1.0,
    quarters: Float[np.ndarray, "halves each"] | None = None,
) -> Estimate:
    """:func:`estimate` from values already computed, for statistics that are cheaper together.

    The width is the noise of t, and that of the corrected value c is the same where t is smooth in
    the data. An absolute value near 0 is not, and its c is noisier: values on ``quarters`` give
    each half a corrected value of its own, and the variance of these, less the noise that the
    quarters' mean adds, is then that of c.

    Args:
        value: t, of all rows.
        halves: Values on the rows of :func:`half_samples` [R]; none of them for no interval.
        level: Probability that the interval covers the population's value.
        bounds: Least and largest value there can be.
        order: That of the bias.
        quarters: Values on random halves of each half, at least two of each.

    Raises:
        ArgumentError: ``level`` is not between 0 and 1, or ``order`` not above 0.
    """
    from scipy.special import stdtrit

    arguments.number("(0, 1)", level=level)
    if order != math.inf:
        arguments.number("(0, inf)", order=order)
    of_halves = np.asarray(halves, dtype=np.float64)
    if reason := why_no_halves(0, len(of_halves), least=0):
        return without_interval(reason)
    if not (np.isfinite(value) and np.isfinite(of_halves).all()):
        return without_interval("a value of all rows or of a half is not a finite number")
    gain = 1 / (2**order - 1)
    centre = value + gain * (value - of_halves.mean())
    variance = of_halves.var(ddof=1)
    if quarters is not None:
        corrected = of_halves + gain * (of_halves - quarters.mean(1))
        added = gain**2 * quarters.var(1, ddof=1).mean() / quarters.shape[1]
        variance = max(variance, corrected.var(ddof=1) - added)
    noise = math.sqrt(variance * (1 + gain**2 / len(of_halves)))
    reach = stdtrit(len(of_halves) - 1, (1 + level) / 2) * noise
    low, middle, high = np.clip([centre - reach, centre, centre + reach], *bounds).tolist()
    return Estimate(middle, (low, high))
