import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from pyro_decomp.data.correlated import chen_table, joint_factors
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.errors import DataError
from tests.statistics import FAILURE_RATE

SHAPE = {"person": 3, "azimuth": 7, "elevation": 4}
GRID = GroundTruth("heads", SHAPE, (1, 1, 1), torch.clone)
SIZES = [(21, 11), (32, 32), (7, 4), (3, 3)]


def marginals(table: Tensor) -> tuple[Tensor, Tensor]:
    return table.sum(1), table.sum(0)


def correlation(table: Tensor) -> float:
    rows, columns = marginals(table)
    u, v = (torch.arange(len(p)).double() for p in (rows, columns))
    covariance = u @ table @ v - (u @ rows) * (v @ columns)
    variances = [p @ at.square() - (p @ at) ** 2 for p, at in ((rows, u), (columns, v))]
    return float(covariance / (variances[0] * variances[1]).sqrt())


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("configuration", "ABCD")
def test_tables_are_distributions_of_the_ratio(configuration: str, sizes: tuple[int, int]) -> None:
    table = chen_table(configuration, *sizes)
    assert table.shape == sizes
    assert table.sum().item() == pytest.approx(1, abs=1e-12)
    ratio = 1.0 if configuration == "A" else 4.0
    assert (table.max() / table.min()).item() == pytest.approx(ratio, rel=1e-12)
    if configuration != "A":
        steeper = chen_table(configuration, *sizes, ratio=50.0)
        assert (steeper.max() / steeper.min()).item() == pytest.approx(50, rel=1e-12)


@pytest.mark.parametrize("sizes", SIZES)
def test_each_configuration_has_its_own_fault(sizes: tuple[int, int]) -> None:
    """B: marginals. C: dependence. D: correlation. None of them has another's."""
    for configuration, even, independent, uncorrelated in (
        ("A", True, True, True),
        ("B", False, True, True),
        ("C", True, False, True),
        ("D", True, False, False),
    ):
        table = chen_table(configuration, *sizes)
        rows, columns = marginals(table)
        for p in (rows, columns):
            assert torch.allclose(p, torch.full_like(p, 1 / len(p)), rtol=1e-12, atol=0) == even
        assert torch.allclose(table, torch.outer(rows, columns), rtol=1e-12, atol=0) == independent
        assert (abs(correlation(table)) < 1e-12) == uncorrelated


@pytest.mark.parametrize("sizes", SIZES)
def test_correlation_of_d(sizes: tuple[int, int]) -> None:
    """3/5 of E|u| E|v| / (sd u sd v), for u and v even over [-1, 1]; all signs 0.6, so 0.45."""
    expected = 0.6
    for size in sizes:
        u = np.linspace(-1, 1, size)
        expected *= np.abs(u).mean() / u.std()
    assert correlation(chen_table("D", *sizes)) == pytest.approx(expected, abs=1e-12)
    assert correlation(chen_table("D", 1001, 1001)) == pytest.approx(0.45, abs=0.001)


def assert_drawn_from(factors: Tensor, grid: GroundTruth, expected: Tensor) -> None:
    counts = grid.index(factors).bincount(minlength=len(grid))
    probabilities = (expected.double() / expected.sum().double()).flatten()
    assert counts[probabilities == 0].sum() == 0
    kept = probabilities > 0
    result = chisquare(counts[kept].numpy(), (len(factors) * probabilities[kept]).numpy())
    assert result.pvalue > FAILURE_RATE


@pytest.mark.parametrize("configuration", "ABCD")
def test_samples_follow_the_table_and_the_rest_is_uniform(configuration: str) -> None:
    table = chen_table(configuration, 7, 4)
    factors = joint_factors(GRID, {("azimuth", "elevation"): table}, 50_000, seed=2)
    assert_drawn_from(factors, GRID, table.expand(3, 7, 4))


def test_factors_of_a_table_come_in_its_order() -> None:
    table = torch.arange(12.0).view(4, 3)
    factors = joint_factors(GRID, {("elevation", "person"): table}, 50_000)
    assert_drawn_from(factors, GRID, table.T[:, None, :].expand(3, 7, 4))


def test_tables_of_one_two_and_three_factors() -> None:
    one, two = torch.tensor([0.0, 2.0, 1.0]), torch.ones(7, 4).tril()
    both = {("person",): one, ("azimuth", "elevation"): two.numpy()}
    assert_drawn_from(joint_factors(GRID, both, 50_000), GRID, one[:, None, None] * two)
    three = (torch.arange(84) % 5).view(3, 7, 4).double()
    factors = joint_factors(GRID, {GRID.factor_names: three}, 50_000)
    assert_drawn_from(factors, GRID, three)


def test_a_seed_is_one_draw_and_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    table = {("azimuth", "elevation"): chen_table("D", 7, 4)}
    draws = [joint_factors(GRID, table, 100, seed=seed) for seed in (3, 3, 4)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({("zoom",): [1.0]}, "expected factors among person, azimuth, elevation, got 'zoom'"),
        ({("person", "person"): np.ones((3, 3))}, "expected each factor once, got 'person' twice"),
        ({("person",): np.ones(3), ("person", "elevation"): np.ones((3, 4))}, "'person' twice"),
        ({("person", "elevation"): np.ones((4, 3))}, r"expected shape \(3, 4\) .* got \(4, 3\)"),
        ({("person",): [1.0, -1.0, 1.0]}, "none negative"),
        ({("person",): [0.0, 0.0, 0.0]}, "some above 0"),
        ({("person",): [1.0, float("nan"), 1.0]}, "expected finite weights"),
    ],
)
def test_what_is_no_distribution_is_refused(tables: dict, message: str) -> None:
    with pytest.raises(DataError, match=f"^tables: .*{message}"):
        joint_factors(GRID, tables, 10)


def test_arguments_of_a_configuration() -> None:
    with pytest.raises(
        DataError, match="configuration: expected one of 'A', 'B', 'C', 'D', got 'E'"
    ):
        chen_table("E", 4, 4)
    with pytest.raises(DataError, match=r"ratio: expected a number in \(1, inf\), got 1"):
        chen_table("D", 4, 4, ratio=1.0)
    with pytest.raises(DataError, match="rows: expected a whole number of at least 3, got 2"):
        chen_table("C", 2, 4)
    with pytest.raises(DataError, match="n: expected a whole number of at least 0, got -1"):
        joint_factors(GRID, {}, -1)
