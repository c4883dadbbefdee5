"""Rows for the metrics of intervention, and laws of those that need no factors."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyro_decomp.metrics import (
    Score,
    active_units,
    gaussian_total_correlation,
    hoyer_sparsity,
    irs,
    udr,
    wasserstein_dependence,
)
from tests.metrics.laws import Law

LAWS = {"irs": Law(lambda z, v: irs(z, v, num_resamples=0), constant=0.1)}


@dataclass(frozen=True)
class Invariance:
    """What changes a metric that needs no factors.

    Attributes:
        score: The metric, of codes.
        scaled: Whether a dimension's unit counts.
        shifted: Whether a dimension's origin counts.
        rotated: Whether the axes count.
    """

    score: Callable[[NDArray[np.float64]], Score]
    scaled: bool = False
    shifted: bool = False
    rotated: bool = True


def last_of_two(z: NDArray[np.float64]) -> Score:
    """UDR of a run beside one that is fixed."""
    generator = np.random.default_rng(5)
    other = generator.normal(size=z.shape) @ np.diag(np.arange(1.0, 1 + z.shape[1]))
    return udr([other + INVARIANT_CODES, z], num_resamples=0)[1]


INVARIANT_CODES = np.random.default_rng(4).normal(size=(300, 4)) @ np.array(
    [[1.0, 0.5, 0.0, 0.0], [0.0, 2.0, 0.3, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.5]]
)

INVARIANCES = {
    "gaussian_total_correlation": Invariance(
        lambda z: gaussian_total_correlation(z, num_resamples=0)
    ),
    "wasserstein_dependence": Invariance(
        lambda z: wasserstein_dependence(z, num_resamples=0), scaled=True
    ),
    "hoyer_sparsity": Invariance(lambda z: hoyer_sparsity(z, num_resamples=0), shifted=True),
    "active_units": Invariance(
        lambda z: active_units(z, threshold=2.0, num_resamples=0), scaled=True
    ),
    "udr": Invariance(last_of_two),
}
