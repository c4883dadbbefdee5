"""MMD against the sum over all pairs, closed forms and quadrature; its U-statistic's laws."""

import inspect
from collections.abc import Callable
from functools import partial

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_decomp.divergences import nufft, pairs
from pyro_decomp.divergences.kernels import RBF, InverseMultiquadratic, Kernel
from pyro_decomp.divergences.mmd import MMD, DimensionwiseMMD, dimensionwise_mmd, mmd
from tests.divergences.sites import encoded, evaluate, three_sites, traced
from tests.statistics import assert_mean

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def imq(squared: Tensor, dim: int = 1) -> Tensor:
    return sum(2 * dim * s / (2 * dim * s + squared) for s in SCALES)


def laplace(squared: Tensor) -> Tensor:
    return torch.exp(-(squared + 0.1).sqrt())


def over_all_pairs(x: Tensor, y: Tensor, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    """The formula as it stands: every pair held, in double precision."""

    def k(a: Tensor, b: Tensor) -> Tensor:
        return kernel((a[:, None] - b).square().sum(-1))

    b, s = len(x), len(y)
    within_x = (k(x, x) * (1 - torch.eye(b))).sum() / (b * (b - 1))
    within_y = (k(y, y) * (1 - torch.eye(s))).sum() / (s * (s - 1))
    return within_x + within_y - 2 * k(x, y).sum() / (b * s)


def dimension_by_dimension(x: Tensor, y: Tensor, kernel: Callable[[Tensor], Tensor]) -> Tensor:
    return sum(over_all_pairs(x[:, [j]], y[:, [j]], kernel) for j in range(x.shape[1]))


def samples(b: int, s: int, d: int, dtype: torch.dtype = torch.double) -> tuple[Tensor, Tensor]:
    """Codes with a mean and a scale in every dimension, and a standard Normal."""
    x = 0.3 + torch.linspace(0.5, 2.0, d, dtype=torch.double) * torch.randn(b, d).double()
    y = torch.randn(s, d).double()
    return x.to(dtype).requires_grad_(), y.to(dtype).requires_grad_()


def assert_same(
    found: Callable[[Tensor, Tensor], Tensor],
    naive: Callable[[Tensor, Tensor], Tensor],
    x: Tensor,
    y: Tensor,
) -> None:
    """Value and gradients by both samples; the naive ones in double precision."""
    rtol = 1e-10 if x.dtype == torch.double else 1e-5
    value = found(x, y)
    gradients = torch.autograd.grad(value, [x, y])
    x_, y_ = (z.detach().double().requires_grad_() for z in (x, y))
    right = naive(x_, y_)
    expected = torch.autograd.grad(right, [x_, y_])
    assert value.dtype == x.dtype
    assert abs(value - right) <= rtol * len(SCALES)  # of k(x, x): values cancel, gradients less
    for one, other in zip(gradients, expected, strict=True):
        assert (one - other).norm() <= rtol * other.norm()


def replicates(x: Tensor, num_samples: int, kernel: Kernel) -> Tensor:
    """The statistic of many samples, each against another of the standard Normal."""
    y = torch.randn(len(x), num_samples, x.shape[-1])
    return torch.vmap(lambda a, b: mmd(a, b, kernel))(x, y).double()


@pytest.fixture(params=[torch.double, torch.float], ids=["float64", "float32"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


class TestJoint:
    @pytest.mark.parametrize(("b", "s", "d"), [(7, 7, 1), (40, 23, 3), (9, 70, 20)])
    def test_the_default_kernel(self, b: int, s: int, d: int, dtype: torch.dtype) -> None:
        x, y = samples(b, s, d, dtype)
        assert_same(mmd, lambda a, b: over_all_pairs(a, b, lambda r2: imq(r2, d)), x, y)

    def test_other_kernels(self, dtype: torch.dtype) -> None:
        x, y = samples(30, 41, 2, dtype)
        rbf = lambda r2: torch.exp(-r2 / (2 * 0.7**2))  # noqa: E731
        assert_same(lambda a, b: mmd(a, b, RBF(0.7)), lambda a, b: over_all_pairs(a, b, rbf), x, y)
        assert_same(
            lambda a, b: mmd(a, b, laplace), lambda a, b: over_all_pairs(a, b, laplace), x, y
        )

    @pytest.mark.parametrize("block", [1, 50, 301])
    def test_blocks(self, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pairs, "BLOCK", block)
        x, y = samples(20, 31, 3)
        assert_same(mmd, lambda a, b: over_all_pairs(a, b, lambda r2: imq(r2, 3)), x, y)

    def test_far_from_the_origin(self) -> None:
        x, y = (z.detach() + 1000 for z in samples(50, 60, 4, torch.float))
        x.requires_grad_()
        y.requires_grad_()
        assert_same(mmd, lambda a, b: over_all_pairs(a, b, lambda r2: imq(r2, 4)), x, y)

    def test_inside_autocast(self) -> None:
        x, y = samples(50, 60, 4, torch.float)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_same(mmd, lambda a, b: over_all_pairs(a, b, lambda r2: imq(r2, 4)), x, y)

    def test_the_median_distance(self) -> None:
        x, y = samples(14, 17, 3)
        points = torch.cat([x, y]).detach()
        bandwidth = torch.pdist(points).median().item()
        assert torch.allclose(mmd(x, y, RBF()), mmd(x, y, RBF(bandwidth)), rtol=1e-12)
        free, held = (
            torch.autograd.grad(mmd(x, y, kernel), x)[0] for kernel in (RBF(), RBF(bandwidth))
        )
        assert torch.allclose(free, held, rtol=1e-10)  # no gradient through the median

    def test_the_median_distance_of_many(self) -> None:
        x, y = (torch.randn(5000, 1, dtype=torch.double) for _ in range(2))
        expected = 2**0.5 * 0.6744897501960817  # of |Normal(0, 2)|
        bandwidth = RBF().fitted(x, y).length.item() / 2
        assert bandwidth == pytest.approx(expected, rel=0.05)

    def test_points_that_coincide(self) -> None:
        x = torch.zeros(4, 2, requires_grad=True)
        for kernel in (RBF(), InverseMultiquadratic()):
            value = mmd(x, torch.zeros(5, 2), kernel)
            assert value.item() == pytest.approx(0.0, abs=1e-6)
            assert (torch.autograd.grad(value, x)[0] == 0).all()


class TestDimensionwise:
    @pytest.fixture(params=["grid", "pairs"])
    def path(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
        most = 2**20 if request.param == "grid" else 0
        monkeypatch.setattr(nufft, "MOST_NODES", most)
        monkeypatch.setattr(nufft, "PAIRS_PER_NODE", 0.01)
        return request.param

    @pytest.mark.parametrize(("b", "s", "d"), [(40, 40, 1), (60, 37, 3)])
    def test_the_default_kernel(
        self, b: int, s: int, d: int, dtype: torch.dtype, path: str
    ) -> None:
        x, y = samples(b, s, d, dtype)
        assert_same(dimensionwise_mmd, lambda a, b: dimension_by_dimension(a, b, imq), x, y)

    def test_the_sum_of_one_dimensional_ones(self, path: str) -> None:
        x, y = samples(50, 61, 4)

        def one_by_one(kernel: Kernel, a: Tensor, b: Tensor) -> Tensor:
            return sum(mmd(a[:, [j]], b[:, [j]], kernel) for j in range(4))

        for kernel in (InverseMultiquadratic((0.3, 2.0)), RBF(0.4), RBF(), laplace):
            found = partial(dimensionwise_mmd, kernel=kernel)
            assert_same(found, partial(one_by_one, kernel), x, y)

    def test_wide_and_narrow_dimensions(self, path: str) -> None:
        x, y = samples(60, 50, 2)
        scale, shift = torch.tensor([30.0, 0.01]), torch.tensor([-1e4, 7.0])
        x, y = ((z.detach() * scale + shift).double().requires_grad_() for z in (x, y))
        assert_same(dimensionwise_mmd, lambda a, b: dimension_by_dimension(a, b, imq), x, y)

    def test_a_few_lines_at_a_time(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        x, y = samples(60, 50, 5)
        expected = dimensionwise_mmd(x, y, RBF())
        monkeypatch.setattr(nufft, "POINTS", 220)
        assert torch.allclose(dimensionwise_mmd(x, y, RBF()), expected, rtol=1e-12)

    def test_the_grid_is_used_where_it_pays(self) -> None:
        def nodes(x: Tensor, y: Tensor, kernel: Kernel) -> int | None:
            lines = [z.detach().T[..., None] for z in (x, y)]
            found = nufft.grid_for(*lines, kernel.fitted(*lines))
            return found and found.size

        x, y = samples(500, 500, 3)
        assert nodes(x, y, InverseMultiquadratic()) in (1024, 2048)
        assert nodes(x, y, RBF()) == 256
        assert nodes(x[:20], y[:20], InverseMultiquadratic()) is None  # 400 pairs
        assert nodes(1e4 * x, y, InverseMultiquadratic()) is None
        assert nodes(x.log(), y, InverseMultiquadratic()) is None  # nan

    def test_inside_transforms(self) -> None:
        x, y = (z.detach() for z in samples(40, 50, 2))
        runs = torch.stack([x, 2 * x])
        gradient_and_value = torch.func.grad_and_value(lambda a: dimensionwise_mmd(a, y))
        captured = make_fx(gradient_and_value)(x + 1)
        batched = torch.vmap(gradient_and_value)(runs)
        for run, *from_vmap in zip(runs, *batched, strict=True):
            run.requires_grad_()
            value = dimensionwise_mmd(run, y)
            expected = (*torch.autograd.grad(value, run), value)
            for found in (from_vmap, captured(run)):
                for one, other in zip(found, expected, strict=True):
                    assert torch.allclose(one, other, rtol=1e-8)


class TestUStatistic:
    def test_of_two_gaussians_with_an_rbf(self) -> None:
        """E exp(-(u)^2 / 2h^2) for u ~ Normal(m, v) is sqrt(h^2/(h^2+v)) exp(-m^2/2(h^2+v))."""
        m, v, h = 0.6, 1.7, 0.8

        def mean(loc: float, variance: float) -> float:
            total = torch.tensor(h**2 + variance)
            return (h / total.sqrt() * torch.exp(-(loc**2) / (2 * total))).item()

        expected = mean(0, 2 * v) + mean(0, 2) - 2 * mean(m, 1 + v)
        assert_mean(replicates(m + v**0.5 * torch.randn(3000, 30, 1), 20, RBF(h)), expected)

    def test_of_two_gaussians_with_the_default_kernel(self) -> None:
        m, v = 0.6, 1.7
        u = torch.linspace(-40, 40, 400_001, dtype=torch.double)

        def mean(loc: float, variance: float) -> float:
            density = torch.distributions.Normal(loc, variance**0.5).log_prob(u).exp()
            return torch.trapezoid(imq(u.square()) * density, u).item()

        expected = mean(0, 2 * v) + mean(0, 2) - 2 * mean(m, 1 + v)
        x = m + v**0.5 * torch.randn(4000, 30, 1)
        assert_mean(replicates(x, 25, InverseMultiquadratic()), expected)

    @pytest.mark.parametrize("kernel", [InverseMultiquadratic(), RBF(0.5), RBF(), laplace])
    def test_mean_zero_under_equality(self, kernel: Kernel) -> None:
        draws = replicates(torch.randn(2000, 12, 2), 17, kernel)
        assert_mean(draws, 0.0)
        assert (draws < 0).double().mean() > 0.4  # never clamped

    def test_the_order_of_rows_does_not_count(self) -> None:
        x, y = samples(50, 60, 3)
        for function in (mmd, dimensionwise_mmd):
            for kernel in (InverseMultiquadratic(), RBF()):
                moved = function(x.flip(0), y[torch.randperm(60)], kernel)
                assert torch.allclose(moved, function(x, y, kernel), rtol=1e-10)


class TestDivergences:
    def test_three_sites(self) -> None:
        programs = three_sites()
        state = torch.get_rng_state()
        pair = traced(*programs)
        z = [pair.guide.nodes[name]["value"] for name in "abc"]
        codes = torch.cat([z[0][:, None], z[1].movedim(1, 0).reshape(9, 6), z[2]], -1)
        drawn = pair.prior_codes(15)
        for divergence, expected in (
            (MMD(num_samples=15), over_all_pairs(codes, drawn, lambda r2: imq(r2, 9))),
            (DimensionwiseMMD(num_samples=15), dimension_by_dimension(codes, drawn, imq)),
            (MMD(laplace, num_samples=15), over_all_pairs(codes, drawn, laplace)),
        ):
            torch.set_rng_state(state)
            assert torch.allclose(evaluate(divergence, *programs), expected, rtol=1e-10)

    def test_a_learned_prior_is_trained_through_its_draws(self) -> None:
        loc = torch.tensor([0.5, -0.5], dtype=torch.double, requires_grad=True)
        programs = encoded(
            dist.Normal(torch.randn(400, 2).double(), 0.1).to_event(1),
            dist.Normal(loc, 1.0).to_event(1),
        )
        for divergence in (MMD(), DimensionwiseMMD()):
            (gradient,) = torch.autograd.grad(evaluate(divergence, *programs), loc)
            assert gradient[0] > 0.1
            assert gradient[1] < -0.1

    def test_arguments_are_checked(self) -> None:
        with pytest.raises(TypeError, match="kernel"):
            MMD("rbf")
        with pytest.raises(ValueError, match=r"num_samples: expected .* at least 2, got 1"):
            DimensionwiseMMD(num_samples=1)
        with pytest.raises(ValueError, match=r"bandwidth: expected a (positive|finite) number"):
            RBF(0.0)
        for scales in ((), (1.0, -1.0)):
            with pytest.raises(ValueError, match=r"scales.*: expected .* numbers?"):
                InverseMultiquadratic(scales)
        x = torch.randn(5, 2)
        with pytest.raises(ValueError, match="y: expected at least 2 rows, got 1"):
            mmd(x, x[:1])
        with pytest.raises(ValueError, match="rows of one length, got 2 and 1"):
            inspect.unwrap(mmd)(x, x[:, :1])  # else its annotations say so first
