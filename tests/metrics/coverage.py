"""Do intervals hold the truth as often as they say, without being wide?"""

from collections.abc import Callable
from typing import Any

import numpy as np

from pyro_decomp.metrics import Score
from tests.statistics import STANDARD_ERRORS

LEVEL = 0.95


def assert_coverage(
    score: Callable[..., Score], draw: Callable[[np.random.Generator], Any], truth: float
) -> None:
    """Over 60 data sets: the truth is inside often enough, and the width suits the spread."""
    generator = np.random.default_rng(0)
    scores = [score(*draw(generator), num_resamples=50, seed=seed) for seed in range(60)]
    lows, highs = np.array([one.interval for one in scores]).T
    covered = np.mean((lows <= truth) & (truth <= highs))
    standard_error = (LEVEL * (1 - LEVEL) / len(scores)) ** 0.5
    assert covered >= LEVEL - STANDARD_ERRORS * standard_error, f"{covered} of intervals"
    spread = np.std([one.value for one in scores])
    assert 0.7 < np.mean(highs - lows) / (2 * 1.96 * spread) < 1.4
