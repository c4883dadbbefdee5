import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from pyro_decomp.data.factor_grid import FactorGrid
from pyro_decomp.errors import DataError
from tests.statistics import FAILURE_RATE

GRID = FactorGrid("toys", {"kind": 3, "shade": 4, "place": 2})


def test_the_last_factor_is_fastest() -> None:
    expected = np.stack(np.unravel_index(np.arange(24), (3, 4, 2)), axis=1)
    assert torch.equal(GRID.factors(), torch.from_numpy(expected))
    assert torch.equal(GRID.index(GRID.factors()), torch.arange(len(GRID)))
    assert GRID.factors([23, 0]).tolist() == [[2, 3, 1], [0, 0, 0]]


def test_samples_are_uniform_over_the_grid() -> None:
    index = GRID.index(GRID.sample_factors(24_000, seed=1))
    assert chisquare(index.bincount(minlength=24).numpy()).pvalue > FAILURE_RATE


def test_a_seed_is_one_draw_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    draws = [GRID.sample_factors(50, seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_no_rows_are_rows() -> None:
    assert GRID.sample_factors(0).shape == (0, 3)
    assert GRID.index(GRID.sample_factors(0)).shape == (0,)


def test_what_is_no_value_is_named() -> None:
    for factors, message in (
        ([[0, 0, 0], [0, 4, 0]], "factors: expected 0 to 3 for shade, got 4 in row 1"),
        ([[-1, 0, 0]], "factors: expected 0 to 2 for kind, got -1 in row 0"),
        ([[0, 0]], r"factors: expected rows of 3 values for toys, got shape \(1, 2\)"),
        ([0, 0, 0], r"factors: expected rows of 3 values for toys, got shape \(3,\)"),
        ([[0.5, 0, 0]], "factors: expected whole numbers, got torch.float32"),
    ):
        with pytest.raises(DataError, match=f"^{message}$"):
            GRID.index(factors)
    for index in (-1, 24):
        with pytest.raises(DataError, match=f"index: expected 0 to 23 for toys, got {index}"):
            GRID.factors([0, index])
    with pytest.raises(DataError, match="n: expected a whole number of at least 0, got -2"):
        GRID.sample_factors(-2)


def test_there_is_something_to_vary() -> None:
    with pytest.raises(DataError, match="toys: expected at least one factor, got none"):
        FactorGrid("toys", {})
    with pytest.raises(DataError, match="toys: shade: expected a positive whole number, got 0"):
        FactorGrid("toys", {"kind": 2, "shade": 0})
