"""The failure rate of every statistical test: one constant, and the comparison that uses it."""

import math

from torch import Tensor

# A Normal estimate is further than this from its mean once in 59,000 times. Seeds are fixed, so a
# test that passes keeps passing; the rate says how often a right program fails a new seed.
STANDARD_ERRORS = 4.3
FAILURE_RATE = math.erfc(STANDARD_ERRORS / math.sqrt(2))


def assert_mean(samples: Tensor, expected: float | Tensor) -> None:
    """The mean over the first axis is as expected, within its Monte-Carlo error."""
    standard_error = samples.std(0) / len(samples) ** 0.5
    distance = (samples.mean(0) - expected).abs()
    assert (distance <= STANDARD_ERRORS * standard_error).all(), (
        f"{samples.mean(0)} is not {expected}: {distance / standard_error} standard errors away"
    )
