"""Density-based information against quadrature, naive sums and limits."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import distributions as dist

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import density_mig
from pyro_decomp.metrics.density_mig import _drawn, _log_ratios
from pyro_decomp.metrics.posteriors import Blocks, GaussianPosterior, Posterior
from tests.statistics import assert_mean

Family = Callable[[Tensor, Tensor], dist.Distribution]
FAMILIES: dict[str, Family] = {
    "Normal": dist.Normal,
    "Laplace": dist.Laplace,
    "Gumbel": dist.Gumbel,  # not symmetric
    "Independent": lambda loc, scale: dist.Independent(dist.Normal(loc, scale), 1),
    "mixture": lambda loc, scale: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(*loc.shape, 2)),
        dist.Normal(torch.stack([loc, loc + 3], -1), scale[..., None]),
    ),
}


def encoder() -> tuple[np.ndarray, Tensor, Tensor]:
    """Three values with unequal chances; codes that know much, some and nothing of them."""
    v = np.repeat([0, 1, 2], [10, 20, 30])[:, None]
    loc = torch.from_numpy(np.hstack([1.5 * v, 1.0 * v, 0.0 * v]))
    return v, loc, torch.tensor([0.5, 1.0, 2.0]).double().expand_as(loc)


def by_quadrature(v: np.ndarray, posterior: dist.Distribution) -> np.ndarray:
    """I(z_j; v) in nats, from densities on a fine grid."""
    grid = torch.linspace(-40, 60, 5_001, dtype=torch.double)
    _, first, counts = np.unique(v, return_index=True, return_counts=True)
    p = torch.from_numpy(counts / len(v))
    base = posterior.base_dist if isinstance(posterior, dist.Independent) else posterior
    points = grid[:, None, None].expand(-1, len(v), 3).split(2_000)
    joint = torch.cat([base.log_prob(z)[:, first].exp() for z in points]).transpose(0, 1)
    marginal = torch.einsum("v,vgd->gd", p, joint)
    terms = joint * (joint.clamp(min=1e-300) / marginal.clamp(min=1e-300)).log()
    return (torch.einsum("v,vgd->d", p, terms) * (grid[1] - grid[0])).numpy()


@pytest.mark.full(but=["Normal"])
@pytest.mark.parametrize("name", ["arrays", *FAMILIES])
def test_quadrature(name: str) -> None:
    v, loc, scale = encoder()
    posterior = FAMILIES.get(name, dist.Normal)(loc, scale)
    given = (loc, scale) if name == "arrays" else posterior
    found = [
        density_mig(given, v, num_samples=600, num_resamples=0, seed=seed).details
        for seed in range(20)
    ]
    values = torch.from_numpy(np.stack([one["mutual_information"][:, 0] for one in found]))
    expected = by_quadrature(v, posterior)
    assert_mean(values[:, :2], torch.from_numpy(expected[:2]))
    assert values[:, 2].abs().max() < 1e-5  # q(z_j|v) = q(z_j): no noise
    p = np.array([1, 2, 3]) / 6
    assert np.allclose(found[0]["entropy"], -(p * np.log(p)).sum(), rtol=1e-12)


class Given(Posterior):
    """Densities written down: block by block, of different sizes."""

    family = "given"

    def __init__(self, densities: Tensor) -> None:
        self.densities = densities
        _, self.num_dims, self.num_rows = densities.shape

    def relative_densities(self, rows: Tensor, seed: int) -> Iterator[tuple[slice, Blocks]]:
        for samples in (slice(0, 2), slice(2, len(rows))):
            cuts = [slice(0, 4), slice(4, self.num_rows)]
            yield samples, iter([(cut, self.densities[samples, :, cut]) for cut in cuts])


def test_naive_sums() -> None:
    """Every sample, dimension and factor; all axes of different length, so none can be swapped."""
    s, d, n, k = 5, 3, 11, 2
    densities = torch.rand(s, d, n)
    levels = torch.tensor([[0, 1, 0, 1, 2, 2, 0, 1, 0, 2, 1], [0] * 5 + [1] * 6]).T
    rows = torch.tensor([10, 3, 0, 5, 5])
    found = _log_ratios(Given(densities), rows, levels, seed=0)
    assert found.shape == (s, d, k)
    for i, row in enumerate(rows):
        for j in range(d):
            for one in range(k):
                alike = densities[i, j, levels[:, one] == levels[row, one]].mean()
                expected = (alike / densities[i, j].mean()).log()
                assert found[i, j, one] == pytest.approx(expected.item(), abs=1e-5)


def test_naive_sums_of_repeated_rows() -> None:
    """A row of weight 3 is three rows, for every sample, dimension and factor."""
    s, d, n = 5, 3, 11
    weights = torch.tensor([3, 0, 1, 2, 1, 5, 0, 1, 2, 1, 4])
    repeated = torch.arange(n).repeat_interleave(weights)
    densities = torch.rand(s, d, n)
    levels = torch.tensor([[0, 1, 0, 1, 2, 2, 0, 1, 0, 2, 1], [0] * 5 + [1] * 6]).T
    rows = torch.tensor([10, 3, 0, 5, 5])
    share = (weights / weights.sum()).double().numpy()
    places = torch.tensor([torch.where(repeated == row)[0][0] for row in rows])
    found = _log_ratios(Given(densities), rows, levels, 0, share)
    whole = _log_ratios(Given(densities[:, :, repeated]), places, levels[repeated], 0)
    assert found == pytest.approx(whole, abs=1e-5)


def apart() -> tuple[np.ndarray, Tensor, Tensor, np.ndarray]:
    """Factors, encodings and weights of few data, no two alike and some of weight 0."""
    generator = np.random.default_rng(0)
    v = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [2, 0], [0, 1], [1, 0], [1, 2]])
    loc = torch.from_numpy(v @ np.array([[1.0, 0.3], [0.2, 1.5]]) + generator.normal(size=(8, 2)))
    scale = torch.from_numpy(0.4 + generator.random((8, 2)))
    return v, loc, scale, np.array([3, 1, 2, 5, 0, 2, 1, 0])


def information(v: np.ndarray, loc: Tensor, scale: Tensor) -> np.ndarray:
    """I(z_j; v_k) of rows that all count the same, by quadrature."""
    grid = torch.linspace(-12, 16, 4001, dtype=torch.double)
    density = dist.Normal(loc, scale).log_prob(grid[:, None, None]).exp()  # [g, n, d]
    marginal, result = density.mean(1), torch.zeros(2, 2, dtype=torch.double)
    for k, column in enumerate(torch.from_numpy(v).T):
        for level in column.unique():
            given = density[:, column == level].mean(1)
            terms = given * (given.clamp(min=1e-300) / marginal.clamp(min=1e-300)).log()
            result[:, k] += (column == level).double().mean() * terms.sum(0)
    return (result * (grid[1] - grid[0])).numpy()


def test_the_interval_holds_no_impossible_value() -> None:
    """Four samples tell little: by their noise alone the interval would be from -1 to 3."""
    v = np.arange(10).reshape(5, 2) % 3
    few = density_mig((v + 0.1, np.full([5, 2], 0.3)), v, num_samples=4)
    low, high = few.interval
    assert 0 <= low <= few.corrected <= high <= 1


@pytest.mark.parametrize("family", ["arrays", "Normal"])
def test_weights_are_rows_repeated(family: str) -> None:
    """In expectation, by quadrature; the entropies and the factors that vary are those too."""
    v, loc, scale, weights = apart()
    again = np.repeat(np.arange(8), weights)
    given = (loc, scale) if family == "arrays" else dist.Normal(loc, scale)
    found = [
        density_mig(given, v, weights=7 * weights, num_samples=300, num_resamples=0, seed=seed)
        for seed in range(20)
    ]
    values = np.stack([one.details["mutual_information"] for one in found])
    assert_mean(
        torch.from_numpy(values), torch.from_numpy(information(v[again], loc[again], scale[again]))
    )
    repeated = density_mig((loc[again], scale[again]), v[again], num_samples=4, num_resamples=0)
    assert np.allclose(found[0].details["entropy"], repeated.details["entropy"], rtol=1e-12)
    assert found[0].variant["weighted"]


def test_a_factor_that_only_data_of_weight_0_vary_in_is_left_out() -> None:
    v, loc, scale, _ = apart()
    found = density_mig((loc, scale), v, weights=[1, 1, 0, 0, 1, 0, 1, 0], num_samples=8)
    assert found.variant["factors"] == (0,)
    with pytest.raises(DataError, match="factors: expected a factor that varies"):
        density_mig((loc, scale), v, weights=[1, 0, 0, 0, 0, 0, 0, 0])


def test_data_are_drawn_in_proportion() -> None:
    """Each as often as its share of the samples, to the next whole number or the one after."""
    share = np.array([0.5, 0.0, 0.26, 0.2, 0.04])
    for seed in range(50):
        rows = _drawn(share, 10, np.random.default_rng(seed)).numpy()
        counts = np.bincount(rows, minlength=5)
        assert (np.abs(counts - 10 * share) < 2).all()
        assert counts[1] == 0
    alike = _drawn(np.full(60, 1 / 60), 60, np.random.default_rng(0))
    assert sorted(alike.tolist()) == list(range(60))


@pytest.mark.slow
@pytest.mark.parametrize("num_samples", [50, 100, 400])
def test_the_interval_is_of_the_draws(num_samples: int) -> None:
    """Data that differ a lot, each drawn in turn: 95 % of 400, within 4.3 standard errors."""
    generator = np.random.default_rng(0)
    v = generator.integers(3, size=[100, 2])
    loc = v + generator.normal(size=v.shape) * [0.5, 3.0]
    encodings = (loc, np.full(loc.shape, 0.3))
    exact = density_mig(encodings, v, num_samples=30_000, num_resamples=0).value
    hits = 0
    for seed in range(1, 401):
        found = density_mig(encodings, v, num_samples=num_samples, num_resamples=20, seed=seed)
        hits += found.interval[0] <= exact <= found.interval[1]
    assert abs(hits / 400 - 0.95) < 4.3 * (0.95 * 0.05 / 400) ** 0.5


def test_gaussian_densities_are_those_of_the_samples() -> None:
    """What blocks hold is q(z_j|m)/q(z_j|n), for the codes that the seed draws."""
    generator = np.random.default_rng(0)
    loc, scale = generator.normal(size=[2100, 2]), 0.5 + generator.random([2100, 2])
    rows = torch.arange(9)
    posterior = GaussianPosterior(loc, scale)
    z = torch.from_numpy(loc[:9]) + torch.from_numpy(scale[:9]) * torch.randn(
        9, 2, generator=torch.Generator().manual_seed(4), dtype=torch.float64
    )
    normal = dist.Normal(torch.from_numpy(loc), torch.from_numpy(scale))
    pairs = normal.log_prob(z[:, None]) - normal.log_prob(z[:, None])[rows, rows][:, None]
    seen = torch.zeros(9, 2, 2100)
    for samples, blocks in posterior.relative_densities(rows, seed=4):
        for columns, densities in blocks:
            seen[samples, :, columns] = densities
    assert torch.allclose(seen.double(), pairs.exp().transpose(1, 2), rtol=1e-4, atol=1e-12)


@pytest.mark.parametrize(("shift", "unit"), [(1e4, 1.0), (0.0, 1e-3), (-50.0, 1e5)])
def test_units_do_not_count(shift: float, unit: float) -> None:
    v, loc, scale = encoder()
    given = density_mig((loc, scale), v, num_samples=200)
    moved = density_mig((shift + unit * loc, unit * scale), v, num_samples=200)
    assert moved.value == pytest.approx(given.value, abs=1e-4)
    assert moved.interval == pytest.approx(given.interval, abs=1e-4)


def test_data_apart_tell_every_factor() -> None:
    """Posteriors that never meet: each code knows the datum, and with it all factors."""
    generator = np.random.default_rng(0)
    v = generator.integers(3, size=[60, 2])
    loc = generator.permuted(np.repeat(np.arange(60.0)[:, None], 4, axis=1), axis=0)
    score = density_mig((loc, np.full([60, 4], 1e-3)), v, num_samples=60, num_resamples=0)
    expected = np.broadcast_to(score.details["entropy"], [4, 2])
    assert np.allclose(score.details["mutual_information"], expected, atol=1e-5)
    assert score.value == pytest.approx(0, abs=1e-5)


def test_collapsed_codes_cost_nothing() -> None:
    v = np.repeat([[0], [1]], 20, axis=0)
    loc = np.hstack([8.0 * v, np.zeros([40, 3])])
    score = density_mig((loc, np.ones([40, 4])), v, num_samples=400, num_resamples=0)
    assert score.value == pytest.approx(1.0, abs=1e-3)


def test_the_seed_decides_and_the_global_generator_rests() -> None:
    v, loc, scale = encoder()
    posterior = dist.Laplace(loc, scale)
    state = torch.get_rng_state()
    values = [density_mig(posterior, v, num_samples=90, seed=seed).value for seed in (0, 0, 1)]
    assert torch.equal(state, torch.get_rng_state())
    assert values[0] == values[1] != values[2]


def test_what_cannot_be_used() -> None:
    v, loc, scale = encoder()
    with pytest.raises(DataError, match=r"scale: expected positive numbers, got 0 in row 1"):
        density_mig((np.zeros([2, 1]), np.array([[1.0], [0.0]])), [[0], [1]])
    with pytest.raises(DataError, match=r"scale: expected shape \(60, 3\) as loc has"):
        density_mig((loc, scale[:, :1]), v)
    with pytest.raises(DataError, match=r"batch shape \[N, d\].*got \(60,\) and \(3,\)"):
        density_mig(dist.MultivariateNormal(loc, torch.eye(3).double()), v)
    with pytest.raises(DataError, match="factors: expected 60 rows, one a code, got 59"):
        density_mig((loc, scale), v[1:])
    for weights, message in (
        (np.ones(59), r"expected shape \(60,\), got \(59,\)"),
        (np.ones([60, 1]), r"expected shape \(60,\), got \(60, 1\)"),
        (np.arange(60) - 1, r"expected at least 0, got -1 in row 0"),
        (np.zeros(60), "expected one above 0, got none"),
        (np.full(60, np.nan), "expected finite numbers, got NaN or infinity in 60 of 60 rows"),
        (["a"] * 60, "expected real numbers"),
    ):
        with pytest.raises(DataError, match=f"weights: {message}"):
            density_mig((loc, scale), v, weights=weights)
    with pytest.raises(ValueError, match="num_samples: expected a whole number of at least 4"):
        density_mig((loc, scale), v, num_samples=3)
    narrow = np.where(np.arange(60)[:, None] % 2, 1e-60, 1.0)
    with pytest.raises(DataError, match="densities of similar magnitude, got an overflow"):
        density_mig((np.zeros([60, 1]), narrow), v)
