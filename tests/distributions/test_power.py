"""Powers whose gradients at zero are finite."""

import pytest
import torch

from pyro_decomp.distributions.generalized_normal import power


@pytest.mark.parametrize("exponent", [0.3, 1.0, 1.7, 2.0])
def test_it_is_the_power_with_its_gradients(exponent: float) -> None:
    x = torch.tensor([0.2, 1.0, 3.0]).double().requires_grad_()
    r = torch.tensor(exponent).double().requires_grad_()
    assert torch.equal(power(x, r), x**r)
    assert torch.autograd.gradcheck(power, (x, r))
    assert torch.autograd.gradgradcheck(power, (x, r))


@pytest.mark.parametrize("exponent", [0.3, 1.0, 1.7, 2.0])
def test_at_zero_value_and_gradients_are_zero(exponent: float) -> None:
    x = torch.zeros(()).double().requires_grad_()
    r = torch.tensor(exponent).double().requires_grad_()
    value = power(x, r)
    assert [value, *torch.autograd.grad(value, (x, r))] == [0, 0, 0]


def test_what_is_not_a_number_stays_so() -> None:
    assert power(torch.tensor(float("nan")), torch.tensor(2.0)).isnan()
