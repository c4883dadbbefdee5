"""Sliced Wasserstein and energy distances against closed forms and optimal assignment."""

import math
from itertools import permutations

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp.divergences import pairs
from pyro_decomp.divergences.wasserstein import (
    EnergyDistance,
    SlicedWasserstein,
    energy_distance,
    line_wasserstein,
    sliced_wasserstein,
)
from tests.divergences.sites import encoded, evaluate, three_sites, traced
from tests.statistics import assert_mean


def quantiles(loc: float, scale: float, n: int = 200_000) -> Tensor:
    """Points that stand for a Normal: its quantiles in the middle of n equal steps."""
    levels = (torch.arange(n, dtype=torch.double) + 0.5) / n
    return dist.Normal(torch.tensor(loc).double(), scale).icdf(levels)


@pytest.mark.parametrize("p", [1, 2, 3.5])
def test_a_shift_on_a_line(p: float) -> None:
    x = torch.randn(3, 40).double()
    assert torch.allclose(line_wasserstein(x, x.flip(1) + 0.7, p), torch.tensor(0.7).double() ** p)


def test_two_gaussians_on_a_line() -> None:
    x, y = quantiles(0.3, 1.5), quantiles(-1.0, 0.5)
    expected = 1.3**2 + (1.5 - 0.5) ** 2  # W2^2 = (m - m')^2 + (s - s')^2
    assert line_wasserstein(x, y).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("p", [1, 2])
def test_samples_of_different_size(p: int) -> None:
    x, y = torch.randn(2, 4).double(), torch.randn(2, 6).double()
    repeated = x.repeat_interleave(3, 1), y.repeat_interleave(2, 1)  # the same distributions
    assert torch.allclose(line_wasserstein(x, y, p), line_wasserstein(*repeated, p), rtol=1e-12)
    x, y = torch.randn(5).double(), torch.randn(7).double()
    repeated = x.repeat_interleave(7), y.repeat_interleave(5)
    assert torch.allclose(line_wasserstein(x, y, p), line_wasserstein(*repeated, p), rtol=1e-12)


def test_no_assignment_is_cheaper() -> None:
    x, y = torch.randn(5).double(), torch.randn(5).double()
    costs = [(x - y[list(order)]).square().mean() for order in permutations(range(5))]
    assert torch.allclose(line_wasserstein(x, y), torch.stack(costs).min(), rtol=1e-12)


def test_gradients_of_different_sizes() -> None:
    x, y = torch.randn(2, 5).double().requires_grad_(), torch.randn(2, 8).double().requires_grad_()
    assert torch.autograd.gradcheck(line_wasserstein, (x, y))


def test_slices_are_lines() -> None:
    x, y = torch.randn(30, 2).double(), 0.5 + torch.randn(40, 2).double()
    axes = torch.eye(2).double()
    expected = line_wasserstein(x.T, y.T).mean()
    assert torch.allclose(sliced_wasserstein(x, y, axes), expected, rtol=1e-12)


@pytest.mark.full
def test_slices_of_two_gaussians() -> None:
    """Of isotropic Gaussians m apart: |m|^2/d + (s - s')^2 in the mean over directions."""
    m, scale, other, d = 3.0, 1.2, 0.8, 3
    draws = torch.randn(4000, d, generator=torch.Generator().manual_seed(1)).double()
    directions = torch.nn.functional.normalize(draws)
    projected = directions[:, 0] * m
    line = quantiles(0.0, 1.0, 2000)
    values = line_wasserstein(projected[:, None] + scale * line, other * line.expand(4000, -1))
    assert_mean(values, m**2 / d + (scale - other) ** 2 * line.square().mean().item())


@pytest.mark.full
def test_the_divergence_draws_directions_on_the_sphere() -> None:
    shift = torch.tensor([3.0, 0.0, 0.0, 0.0]).double()
    z = torch.randn(50, 4).double()
    programs = encoded(dist.Delta(z + shift, event_dim=1), dist.Delta(z, event_dim=1).mask(False))
    pair = traced(*programs)
    values = torch.stack([SlicedWasserstein(num_projections=3)(pair) for _ in range(400)])
    assert_mean(values, 9 / 4)
    torch.manual_seed(5)
    first = SlicedWasserstein()(pair)
    torch.manual_seed(5)
    assert SlicedWasserstein()(pair) == first  # from the global generator alone


def test_energy_of_two_gaussians_on_a_line() -> None:
    """E|u| of u ~ Normal(m, v) is sqrt(2v/pi) exp(-m^2/2v) + m erf(m/sqrt(2v))."""
    m, v = 0.8, 2.25

    def mean(loc: float, variance: float) -> float:
        spread = math.sqrt(2 * variance / math.pi) * math.exp(-(loc**2) / (2 * variance))
        return spread + loc * math.erf(loc / math.sqrt(2 * variance))

    expected = 2 * mean(m, v + 1) - mean(0, 2 * v) - mean(0, 2)
    x, y = m + v**0.5 * torch.randn(3000, 12, 1), torch.randn(3000, 9, 1)
    assert_mean(torch.vmap(energy_distance)(x, y).double(), expected)


def test_energy_has_mean_zero_under_equality() -> None:
    draws = torch.vmap(energy_distance)(torch.randn(3000, 8, 3), torch.randn(3000, 11, 3))
    assert_mean(draws.double(), 0.0)
    assert (draws < 0).double().mean() > 0.4  # never clamped


@pytest.mark.parametrize(("d", "block"), [(1, 30), (4, 30), (4, 2**17)])
def test_energy_is_its_formula(d: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "BLOCK", block)
    x, y = (torch.randn(n, d).double().requires_grad_() for n in (7, 9))

    def within(a: Tensor) -> Tensor:
        return torch.pdist(a).mean()

    naive = 2 * torch.cdist(x, y).mean() - within(x) - within(y)
    value = energy_distance(x, y)
    assert torch.allclose(value, naive, rtol=1e-12)
    expected = torch.autograd.grad(naive, [x, y])
    for one, other in zip(torch.autograd.grad(value, [x, y]), expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-10)


def test_energy_where_points_coincide() -> None:
    x = torch.tensor([[1.0], [1.0], [0.0]], requires_grad=True)
    y = torch.tensor([[1.0], [0.0]])
    value = energy_distance(x, y)
    assert value.item() == pytest.approx(2 * 3 / 6 - 4 / 6 - 1)
    (gradient,) = torch.autograd.grad(value, x)
    # to points on the left and right of each: within by 1/3 a pair, across by 1/3
    assert gradient.flatten().tolist() == pytest.approx([0.0, 0.0, 1 / 3])


def test_three_sites() -> None:
    programs = three_sites()
    state = torch.get_rng_state()
    pair = traced(*programs)
    codes, drawn = pair.codes(), pair.prior_codes(15)
    torch.set_rng_state(state)
    found = evaluate(EnergyDistance(num_samples=15), *programs)
    assert torch.allclose(found, energy_distance(codes, drawn), rtol=1e-12)
    assert codes.shape == (9, 9)


def test_the_order_of_rows_does_not_count() -> None:
    x, y = torch.randn(6, 3).double(), torch.randn(9, 3).double()
    directions = torch.nn.functional.normalize(torch.randn(5, 3).double())
    for function in (energy_distance, lambda a, b: sliced_wasserstein(a, b, directions)):
        assert torch.allclose(function(x, y), function(x.flip(0), y.roll(4, 0)), rtol=1e-12)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match=r"num_projections: expected .*, got 0"):
        SlicedWasserstein(0)
    with pytest.raises(ValueError, match=r"p: expected a finite number of at least 1, got 0\.5"):
        SlicedWasserstein(p=0.5)
    with pytest.raises(ValueError, match=r"num_samples: expected .* at least 2, got 1"):
        EnergyDistance(num_samples=1)
    with pytest.raises(ValueError, match="x: expected at least 2 rows, got 1"):
        energy_distance(torch.zeros(1, 2), torch.zeros(3, 2))
