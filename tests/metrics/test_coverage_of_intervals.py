"""How often 95 % intervals hold the value of the population, found by simulation."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from pyro_decomp.metrics import Score, factor_vae_score, mig, modularity
from tests.not_yet import rows

LEAST, MOST = 0.90, 0.98  # of coverage, to which the binomial interval of the simulation reaches

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


def with_noise(number: int, seed: int) -> Data:
    """All of these codes."""
    return population(number, seed, with_noise=True)


def without_noise(number: int, seed: int) -> Data:
    """Those that know something."""
    return population(number, seed, with_noise=False)


def turned(number: int, seed: int) -> Data:
    """Three of four factors, two of them turned into each other, and codes of little noise."""
    generator = np.random.default_rng(seed)
    factors = np.stack([generator.integers(k, size=number) for k in (6, 40, 32, 32)], 1)
    loc, scale = np.array([2.5, 15.5, 15.5]), np.array([1.7, 9.2, 9.2])
    codes = (factors[:, [0, 2, 3]] - loc) / scale + 0.3 * generator.normal(size=(number, 3))
    cos, sin = np.cos(0.6), np.sin(0.6)
    codes = codes @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]).T
    return np.concatenate([codes, 0.01 * generator.normal(size=(number, 2))], 1), factors


Case = tuple[Callable[..., Score], Callable[[int, int], Data], int, int, dict[str, Any]]
FEW = {"num_resamples": 20}
QUICK = {"num_votes": 1000, "num_held_out": 1000, "votes_of": 16, "num_resamples": 10}
CASES: dict[str, Case] = {  # the score, its data, their rows, repeats, settings
    "modularity, n = 500": (modularity, with_noise, 500, 400, FEW),
    "modularity without a code of noise, n = 500": (modularity, without_noise, 500, 400, FEW),
    "MIG, n = 500": (mig, with_noise, 500, 400, FEW),
    "FactorVAE score of turned codes": (factor_vae_score, turned, 2000, 100, QUICK),
}
EXACTLY = {"FactorVAE score of turned codes": {"num_votes": 100_000, "num_held_out": 100_000}}


@pytest.mark.parametrize("name", rows("coverage", CASES))
def test_intervals_hold_the_truth_often_enough(name: str) -> None:
    """A coverage of 0.95 fails less than once in 1,000 times, one of 0.85 in most."""
    score, draw, number, repeats, settings = CASES[name]
    many = score(*draw(100_000, 999), **{**settings, **EXACTLY.get(name, {})})
    truth = many.corrected if score is modularity else many.value  # chance is no knowledge
    hits = 0
    for seed in range(repeats):
        found = score(*draw(number, seed), **settings, seed=seed)
        low, high = found.interval
        assert low <= found.corrected <= high
        hits += low <= truth <= high
    coverage = binomtest(hits, repeats).proportion_ci(0.95)
    assert coverage.high >= LEAST, f"{hits} of {repeats}"
    assert coverage.low <= MOST, f"{hits} of {repeats}"
