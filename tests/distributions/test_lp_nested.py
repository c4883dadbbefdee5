"""Lp-nested densities: special cases, volumes, and their samples."""

import math

import pyro.distributions as dist
import pytest
import torch
from pyro.distributions.testing.gof import auto_goodness_of_fit
from torch import Tensor

from pyro_decomp.distributions import GeneralizedNormal, LpNested
from pyro_decomp.priors import IndependentSubspaces
from tests.priors.priors import draw, log_density
from tests.statistics import FAILURE_RATE, assert_mean

SIZES = (2, 1, 3)


def made(inner: tuple[float, ...], outer: float, scale: tuple[float, ...]) -> LpNested:
    as_tensor = [torch.tensor(value).double() for value in (inner, outer, scale)]
    return LpNested(SIZES, *as_tensor)


def uneven() -> LpNested:
    return made((0.8, 3.0, 1.5), 1.2, (0.5, 1.0, 2.0))


def z(num: int = 7) -> Tensor:
    return torch.randn(num, 6).double()


@pytest.mark.parametrize("power", [0.7, 1.0, 2.0, 3.0])
def test_one_power_for_all_is_a_product_over_dimensions(power: float) -> None:
    points = z()
    product = GeneralizedNormal(torch.zeros(6).double(), 1.3, power).to_event(1)
    found = made((power,) * 3, power, (1.3,) * 3)
    torch.testing.assert_close(found.log_prob(points), product.log_prob(points))
    torch.testing.assert_close(found.variance, product.variance)
    torch.testing.assert_close(found.entropy(), product.entropy())


def test_groups_are_independent() -> None:
    points = z()
    parts = points.split(SIZES, -1)
    whole = uneven()
    alone = [
        LpNested((n,), whole.inner[k : k + 1], whole.outer, whole.scale[k : k + 1])
        for k, n in enumerate(SIZES)
    ]
    expected = sum(p.log_prob(part) for p, part in zip(alone, parts, strict=True))
    torch.testing.assert_close(whole.log_prob(points), expected)


@pytest.mark.parametrize(("inner", "outer"), [(2.0, 1.0), (1.0, 3.0), (4.0, 1.5)])
def test_it_integrates_to_one(inner: float, outer: float) -> None:
    """Over three dimensions, by draws from a Student-t whose tails are heavier."""
    p = LpNested((3,), *(torch.tensor(v).double() for v in ([inner], outer, [1.2])))
    proposal = dist.MultivariateStudentT(
        torch.tensor(4.0).double(), torch.zeros(3).double(), 1.5 * torch.eye(3).double()
    )
    points = proposal.sample((100_000,))
    assert_mean((p.log_prob(points) - proposal.log_prob(points)).exp(), 1.0)


def test_samples_have_the_density_and_moments() -> None:
    p = uneven()
    points = p.sample((10_000,))
    assert_mean(points, p.mean)
    assert_mean(points.square(), p.variance)
    assert_mean(-p.log_prob(points), p.entropy())
    single = points[:, 2]
    alone = GeneralizedNormal(0.0, p.scale[1], p.outer)
    assert auto_goodness_of_fit(single, alone.log_prob(single).exp()) > FAILURE_RATE


def test_samples_carry_gradients_of_the_variance() -> None:
    leaves = [torch.tensor(v).double().requires_grad_() for v in ([1.5, 3.0], 1.2, [0.7, 1.0])]
    wide = [leaf.detach().expand(40_000, *leaf.shape).requires_grad_() for leaf in leaves]
    squares = LpNested((2, 3), *wide).rsample().square()
    exact = LpNested((2, 3), *leaves).variance
    expected = torch.autograd.grad(exact.sum(), leaves)
    each = torch.autograd.grad(squares.sum(), wide)
    for one, other in zip(each, expected, strict=True):
        assert_mean(one, other)


@pytest.mark.parametrize(("inner", "outer"), [(2.0, 1.0), (0.7, 2.0), (3.0, 1.5)])
def test_the_prior_has_variance_one(inner: float, outer: float) -> None:
    torch.set_default_dtype(torch.double)
    points = draw(IndependentSubspaces(SIZES, inner, outer), 20_000)
    assert_mean(points.square(), 1.0)


def test_round_groups_may_be_rotated_and_others_not() -> None:
    torch.set_default_dtype(torch.double)
    prior, points = IndependentSubspaces((2, 2), inner=2.0, outer=1.0), torch.randn(7, 4)
    cos, sin = math.cos(0.7), math.sin(0.7)
    turn = torch.tensor([[cos, -sin], [sin, cos]])
    within = torch.block_diag(turn, torch.eye(2))
    across = within[[0, 2, 1, 3]][:, [0, 2, 1, 3]]
    before = log_density(prior, points)
    torch.testing.assert_close(log_density(prior, points @ within), before)
    assert not torch.allclose(log_density(prior, points @ across), before, rtol=1e-2)
    normal = IndependentSubspaces((2, 2), inner=2.0, outer=2.0)
    expected = dist.Normal(0.0, 1.0).expand((4,)).to_event(1).log_prob(points)
    torch.testing.assert_close(log_density(normal, points), expected)


def test_a_batch() -> None:
    p = LpNested((2, 1), torch.tensor([2.0, 1.0]), torch.tensor([1.0, 3.0]), torch.ones(2))
    wide = p.expand((4, 2))
    assert (wide.batch_shape, wide.event_shape) == ((4, 2), (3,))
    points = wide.sample((5,))
    assert points.shape == (5, 4, 2, 3)
    torch.testing.assert_close(wide.log_prob(points), p.log_prob(points))
    assert wide.variance.shape == (4, 2, 3)


def test_arguments_are_checked() -> None:
    one = torch.ones(())
    with pytest.raises(ValueError, match=r"sizes\[1\]: expected a positive whole number, got 0"):
        LpNested((2, 0), torch.ones(2), one, torch.ones(2))
    with pytest.raises(ValueError, match="inner: expected length 2, got shape"):
        LpNested((2, 1), torch.ones(3), one, torch.ones(2))
    with pytest.raises(ValueError, match="scale"):
        LpNested((2, 1), torch.ones(2), one, -torch.ones(2))
    with pytest.raises(ValueError, match="inner: expected a positive number, got 0"):
        IndependentSubspaces((2, 1), inner=0.0)


def test_two_for_both_powers_is_normal_with_its_gradient_at_zero() -> None:
    p = made((2.0, 2.0, 2.0), 2.0, (1.0, 1.0, 1.0))
    normal = dist.Normal(torch.zeros(6).double(), 0.5**0.5).to_event(1)
    points = torch.tensor([[0.0] * 6, [0.0, 0.0, 0.5, 0.0, 1.0, 0.0]]).double().requires_grad_()
    found, expected = (
        torch.autograd.grad(fn.log_prob(points).sum(), points)[0] for fn in (p, normal)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("outer", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("inner", [0.5, 1.0, 2.0, 3.0])
def test_gradients_are_finite_where_groups_and_dimensions_are_zero(
    inner: float, outer: float
) -> None:
    """At a kink or cusp the mean of the slopes on both sides, which is 0 by symmetry."""
    parameters = [
        torch.tensor(value).double().requires_grad_()
        for value in ([inner] * 3, outer, [0.7, 1.0, 2.0])
    ]
    p = LpNested(SIZES, *parameters)
    points = torch.tensor([[0.0, 0, 0, 0, 0, 0], [0, 1, 0, 2, 0, -1]]).double().requires_grad_()
    value = p.log_prob(points)
    slope, *of_parameters = torch.autograd.grad(value.sum(), (points, *parameters))
    assert (slope[points == 0] == 0).all()
    assert (slope[points != 0] * points[points != 0] < 0).all()
    assert all(gradient.isfinite().all() for gradient in of_parameters)
    assert torch.equal(value[0], p.log_prob(1e-300 * torch.ones(6).double()))
