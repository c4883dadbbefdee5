"""The divergence from the prior: its null distribution, and what it sees."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from pyro_decomp.divergences import energy_distance, mmd
from pyro_decomp.errors import DataError
from pyro_decomp.metrics import divergence_from_prior
from tests.statistics import FAILURE_RATE

NUM_NULL = 9
STANDARD = Normal(torch.zeros(2), 1.0)


def mean_distance(x: Tensor, y: Tensor) -> Tensor:
    return (x.mean(0) - y.mean(0)).square().sum()


@pytest.mark.full
@pytest.mark.parametrize("as_array", [False, True], ids=["prior", "permutation"])
def test_the_p_value_is_uniform_under_equality(as_array: bool) -> None:
    generator = np.random.default_rng(0)
    p_values = []
    for seed in range(150):
        prior = generator.normal(size=(9, 2)) if as_array else STANDARD
        score = divergence_from_prior(
            generator.normal(size=(6, 2)),
            prior,
            distance=mean_distance,
            num_null=NUM_NULL,
            num_resamples=0,
            seed=seed,
        )
        p_values.append(score.details["p_value"])
    levels = np.arange(1, NUM_NULL + 2) / (NUM_NULL + 1)
    distance = max(abs(np.mean(np.array(p_values) <= level + 1e-9) - level) for level in levels)
    # Dvoretzky, Kiefer, Wolfowitz and Massart: exceeded with less than this probability
    assert distance < math.sqrt(math.log(2 / FAILURE_RATE) / (2 * len(p_values)))


@pytest.mark.full(but=["mean_distance"])
@pytest.mark.parametrize("distance", [None, mmd, mean_distance])
def test_codes_that_differ_are_told(distance: object) -> None:
    codes = 0.5 + np.random.default_rng(0).normal(size=(200, 2))
    score = divergence_from_prior(codes, STANDARD, distance=distance, num_null=39, num_resamples=0)
    assert score.details["p_value"] == 1 / 40
    assert score.details["z_score"] > 5
    assert len(score.details["null"]) == 39


def test_the_value_is_the_distance_of_the_samples() -> None:
    codes, draws = np.random.default_rng(0).normal(size=(2, 30, 3))
    score = divergence_from_prior(codes, draws[:20], num_null=1)
    expected = energy_distance(torch.tensor(codes), torch.tensor(draws[:20])).item()
    assert score.value == pytest.approx(expected, rel=1e-12)
    assert score.variant["distance"] == "energy_distance"
    assert (score.variant["num_rows"], score.variant["num_prior_rows"]) == (30, 20)


def test_forms_of_the_same_prior_agree() -> None:
    codes = np.random.default_rng(0).normal(size=(20, 2))
    priors = [STANDARD, Independent(STANDARD, 1), Normal(0.0, 1.0), lambda n: torch.randn(n, 2)]
    values = {divergence_from_prior(codes, p, num_null=3, num_resamples=0).value for p in priors}
    assert len(values) == 1


@pytest.mark.full
def test_the_interval_holds_the_populations() -> None:
    """Squared distance of means m: m^2 d, and the noise of both."""
    generator, m, hits = np.random.default_rng(0), 1.0, 0
    for seed in range(80):
        codes = m + generator.normal(size=(60, 2))
        score = divergence_from_prior(
            codes, STANDARD, distance=mean_distance, num_null=1, num_resamples=60, seed=seed
        )
        hits += score.interval[0] <= 2 * m**2 <= score.interval[1]
    assert hits / 80 > 0.95 - 4.3 * math.sqrt(0.95 * 0.05 / 80)


def test_rows_beyond_the_limit_are_left_out() -> None:
    codes = np.random.default_rng(0).normal(size=(50, 2))
    score = divergence_from_prior(codes, STANDARD, num_samples=10, num_null=1)
    assert score.variant["num_rows"] == score.variant["num_prior_rows"] == 10


def test_the_global_generator_is_left_alone() -> None:
    codes = np.random.default_rng(0).normal(size=(20, 2))
    before = torch.get_rng_state()
    one, again, other = (
        divergence_from_prior(codes, STANDARD, num_null=2, num_resamples=4, seed=s).to_json()
        for s in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert one == again
    assert one["value"] != other["value"]


@pytest.mark.parametrize(
    ("codes", "prior", "message"),
    [
        (np.ones((3, 2)), STANDARD, "at least 4 rows for divergence_from_prior, got 3"),
        (np.ones((5, 3)), STANDARD, r"draws of shape \[5, 3\], got \[5, 2\]"),
        (np.ones((5, 3)), np.ones((5, 2)), r"\[m, 3\] with m at least 4, got \[5, 2\]"),
    ],
)
def test_arrays_are_checked(codes: np.ndarray, prior: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        divergence_from_prior(codes, prior)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="num_null: expected a positive whole number, got 0"):
        divergence_from_prior(np.ones((5, 2)), STANDARD, num_null=0)
