"""The generalised Normal against torch's families and scipy's."""

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from pyro_decomp.distributions import GeneralizedNormal
from pyro_decomp.distributions.generalized_normal import power
from tests.statistics import FAILURE_RATE

LOC, SCALE = torch.tensor([0.3, -1.0]).double(), torch.tensor([0.7, 1.2]).double()
Z = torch.linspace(-4, 4, 33).double().unsqueeze(-1)


@pytest.mark.parametrize(
    ("power", "expected"),
    [(1.0, dist.Laplace(LOC, SCALE)), (2.0, dist.Normal(LOC, SCALE / 2**0.5))],
    ids=["Laplace", "Normal"],
)
def test_special_cases(power: float, expected: dist.TorchDistribution) -> None:
    found = GeneralizedNormal(LOC, SCALE, power)
    torch.testing.assert_close(found.log_prob(Z), expected.log_prob(Z))
    torch.testing.assert_close(found.cdf(Z), expected.cdf(Z))
    torch.testing.assert_close(found.entropy(), expected.entropy())
    torch.testing.assert_close(found.variance, expected.variance)
    assert torch.equal(found.mean, LOC)
    assert torch.equal(found.mode, LOC)


@pytest.mark.parametrize("power", [0.6, 3.5])
def test_any_power(power: float) -> None:
    ours = GeneralizedNormal(LOC[0], SCALE[0], power)
    theirs = stats.gennorm(power, LOC[0].item(), SCALE[0].item())
    np.testing.assert_allclose(ours.log_prob(Z), theirs.logpdf(Z), rtol=1e-12)
    np.testing.assert_allclose(ours.cdf(Z), theirs.cdf(Z), rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(ours.entropy(), theirs.entropy(), rtol=1e-12)
    draws = ours.sample((20_000,)).numpy()
    assert stats.kstest(draws, theirs.cdf).pvalue > FAILURE_RATE


def test_samples_carry_the_gradient_of_their_variance() -> None:
    parameters = [torch.tensor(v).double().requires_grad_() for v in (0.5, 1.3, 1.5)]
    p = GeneralizedNormal(*parameters)
    (p.rsample((100_000,)) - 0.5).square().mean().backward()
    expected = torch.autograd.grad(p.variance, parameters[1:])
    for parameter, slope in zip(parameters[1:], expected, strict=True):
        assert parameter.grad.item() == pytest.approx(slope.item(), rel=0.03)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="power"):
        GeneralizedNormal(0.0, 1.0, torch.tensor(-1.0))
    with pytest.raises(ValueError, match="within the support"):
        GeneralizedNormal(0.0, 1.0, 2.0).log_prob(torch.tensor(float("nan")))


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0, 4.0])
def test_gradients_at_the_location_are_finite(power: float) -> None:
    """At a kink or cusp the mean of the slopes on both sides, which is 0 by symmetry."""
    loc, scale, r = (torch.tensor(v).double().requires_grad_() for v in (0.3, 0.7, power))
    value = torch.tensor(0.3).double().requires_grad_()
    log_prob = GeneralizedNormal(loc, scale, r).log_prob(value)
    by_value, by_loc, by_scale, by_power = torch.autograd.grad(log_prob, (value, loc, scale, r))
    assert by_value == by_loc == 0
    torch.testing.assert_close(by_scale, torch.tensor(-1 / 0.7).double())
    expected = (1 + torch.digamma(torch.tensor(1 / power).double()) / power) / power
    torch.testing.assert_close(by_power, expected)


@pytest.mark.parametrize("exponent", [0.3, 1.0, 1.7, 2.0])
def test_a_power_has_its_gradients(exponent: float) -> None:
    x = torch.tensor([0.2, 1.0, 3.0]).double().requires_grad_()
    r = torch.tensor(exponent).double().requires_grad_()
    assert torch.equal(power(x, r), x**r)
    assert torch.autograd.gradcheck(power, (x, r))
    assert torch.autograd.gradgradcheck(power, (x, r))


@pytest.mark.parametrize("exponent", [0.3, 1.0, 1.7, 2.0])
def test_a_power_of_zero_is_zero_with_gradients_of_zero(exponent: float) -> None:
    x = torch.zeros(()).double().requires_grad_()
    r = torch.tensor(exponent).double().requires_grad_()
    value = power(x, r)
    assert [value, *torch.autograd.grad(value, (x, r))] == [0, 0, 0]


def test_what_is_not_a_number_stays_so() -> None:
    assert power(torch.tensor(float("nan")), torch.tensor(2.0)).isnan()
