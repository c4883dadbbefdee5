"""Scores of factors that are made of what codes know of them, by histograms."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from pyro_decomp.metrics.arrays import as_codes, as_factors
from pyro_decomp.metrics.bootstrap import estimate
from pyro_decomp.metrics.mutual_information import JointHistogram, equal_bins
from pyro_decomp.metrics.score import Score


def score_of_information(  # noqa: PLR0917
    name: str,
    detail: str,
    of_factors: Callable[[np.ndarray, np.ndarray], np.ndarray],
    codes: object,
    factors: object,
    num_bins: int,
    num_resamples: int,
    seed: int,
) -> Score:
    """The mean over factors of a number between 0 and 1 that each has, with its interval.

    Args:
        name: Of the metric.
        detail: What the factors' numbers are called in its details.
        of_factors: Maps I(z_j; v_k) [d, k] and H(v_k) [k] to the factors' numbers [k].
        codes: [n, d], one row a datum.
        factors: [n, k] whole numbers.
        num_bins: Bins of equal width for each code, which stay those of all rows.
        num_resamples: Half samples for the interval.
        seed: Of the half samples.
    """
    z = as_codes(codes)
    levels = as_factors(factors, num_rows=len(z))
    histogram = JointHistogram(equal_bins(z, num_bins), num_bins, levels)

    def statistic(rows: Int[np.ndarray, " m"]) -> float:
        information = histogram.mutual_information(rows)
        return float(of_factors(information, histogram.entropy(rows)).mean())

    information, entropy = histogram.mutual_information(), histogram.entropy()
    numbers = of_factors(information, entropy)
    value = float(numbers.mean())
    return Score(
        name=name,
        value=value,
        **estimate(
            statistic,
            len(z),
            value=value,
            num_resamples=num_resamples,
            seed=seed,
            bounds=(0, 1),
            least=histogram.fewest_rows(),
        )._asdict(),
        variant={
            "estimator": "histogram",
            "num_bins": num_bins,
            "num_rows": len(z),
            "factors": levels.columns,
            "num_resamples": num_resamples,
            "seed": seed,
        },
        details={"mutual_information": information, "entropy": entropy, detail: numbers},
    )
