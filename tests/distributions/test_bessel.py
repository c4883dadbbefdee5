"""Bessel functions against scipy's, closed forms and their differential equation."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ive

from pyro_decomp.distributions.bessel import log_bessel

X = torch.tensor([1e-3, 0.1, 1.0, 3.0, 10.0, 100.0, 1e4], dtype=torch.double)


@pytest.mark.parametrize("order", [0, 0.5, 1, 1.5, 4, 9.5, 15, 24])
def test_scipy(order: float) -> None:
    value, ratio = log_bessel(order, X)
    known, following = ive(order, X.numpy()), ive(order + 1, X.numpy())
    reached = following > 1e-300  # beyond, scipy underflows
    expected = np.log(known) - order * np.log(X.numpy())
    np.testing.assert_allclose(value[reached], expected[reached], rtol=1e-12, atol=1e-12)
    quotient = following / known / X.numpy()
    np.testing.assert_allclose(ratio[reached], quotient[reached], rtol=2e-12)


def test_a_closed_form() -> None:
    """I_{1/2}(x) = sqrt(2 / (pi x)) sinh x."""
    value, ratio = log_bessel(0.5, X)
    expected = math.log(2 / math.pi) / 2 + (-torch.expm1(-2 * X) / (2 * X)).log()
    torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-13)
    langevin = 1 / torch.tanh(X) - 1 / X
    torch.testing.assert_close(X * ratio, langevin, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("order", [0, 0.5, 7, 40, 511])
def test_at_zero(order: float) -> None:
    """x^-v I_v(x) is 1 / (2^v Gamma(v + 1)) there."""
    value, ratio = log_bessel(order, torch.zeros(()).double())
    expected = -order * math.log(2) - math.lgamma(order + 1)
    assert value.item() == pytest.approx(expected, rel=1e-13, abs=1e-13)
    assert ratio.item() == pytest.approx(1 / (2 * order + 2), rel=1e-11)


@pytest.mark.parametrize("order", [0, 1.5, 30, 511])
def test_its_derivative_is_the_next_order(order: float) -> None:
    x = X.clone().requires_grad_()
    value, ratio = log_bessel(order, x)
    (slope,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    torch.testing.assert_close(slope, x * ratio - 1, rtol=1e-9, atol=1e-11)
    (curvature,) = torch.autograd.grad((x * ratio).sum(), x)
    length = (x * ratio).detach()
    expected = 1 - length.square() - (2 * order + 1) * ratio.detach()
    torch.testing.assert_close(curvature, expected, rtol=1e-7, atol=1e-10)


def test_single_precision() -> None:
    for order in (0, 4, 31):
        single, double = (log_bessel(order, X.to(t)) for t in (torch.float, torch.double))
        for one, other in zip(single, double, strict=True):
            assert one.dtype == torch.float
            torch.testing.assert_close(one.double(), other, rtol=2e-5, atol=2e-5)
