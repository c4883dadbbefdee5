"""How often 95 % intervals hold the value of the population, found by simulation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from pyro_decomp.metrics import Score, factor_vae_score, modularity
from tests.not_yet import rows

LEAST = 0.90  # of coverage, which the binomial interval of the simulation has to reach

Data = tuple[np.ndarray, np.ndarray]


def population(number: int, seed: int, *, with_noise: bool) -> Data:
    """Codes of three factors, two of them mixed, one weak, and one that knows nothing."""
    generator = np.random.default_rng(seed)
    factors = generator.integers(0, [4, 5, 3], [number, 3])

    def noise() -> np.ndarray:
        return generator.uniform(-1, 1, number)

    codes = [
        factors[:, 0] + 0.8 * noise(),
        factors[:, 1] + 0.6 * factors[:, 2] + 0.5 * noise(),
        factors[:, 2] + 0.7 * noise() + 0.3 * factors[:, 0],
        *([noise()] if with_noise else []),
        0.7 * factors[:, 1] + 1.5 * noise(),
    ]
    return np.stack(codes, 1), factors


def turned(number: int, seed: int) -> Data:
    """Three of four factors, two of them turned into each other, and codes of little noise."""
    generator = np.random.default_rng(seed)
    factors = np.stack([generator.integers(k, size=number) for k in (6, 40, 32, 32)], 1)
    loc, scale = np.array([2.5, 15.5, 15.5]), np.array([1.7, 9.2, 9.2])
    codes = (factors[:, [0, 2, 3]] - loc) / scale + 0.3 * generator.normal(size=(number, 3))
    cos, sin = np.cos(0.6), np.sin(0.6)
    codes = codes @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]).T
    return np.concatenate([codes, 0.01 * generator.normal(size=(number, 2))], 1), factors


Case = tuple[Callable[..., Score], Callable[[int, int], Data], int, int, int, dict[str, Any]]
CASES: dict[str, Case] = {  # the score, data, rows, repeats, rows of the truth, its settings
    "modularity, n = 500": (
        modularity,
        lambda n, seed: population(n, seed, with_noise=True),
        *(500, 400, 100_000, {}),
    ),
    "modularity without a code of noise, n = 500": (
        modularity,
        lambda n, seed: population(n, seed, with_noise=False),
        *(500, 400, 100_000, {}),
    ),
    "FactorVAE score of turned codes": (
        factor_vae_score,
        turned,
        *(2000, 100, 100_000, {"num_votes": 20_000, "num_held_out": 20_000}),
    ),
}


@pytest.mark.parametrize("name", rows("coverage", CASES))
def test_intervals_hold_the_truth_often_enough(name: str) -> None:
    score, draw, number, repeats, many, exactly = CASES[name]
    truth = score(*draw(many, 999), num_resamples=0, **exactly).value
    hits = 0
    for seed in range(repeats):
        low, high = score(*draw(number, seed), num_resamples=50, seed=seed).interval
        hits += low <= truth <= high
    coverage = binomtest(hits, repeats).proportion_ci(0.95)
    assert coverage.high >= LEAST, f"{hits} of {repeats}"
