"""Sums and weights of divergences."""

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp.divergences.base import Divergence, WeightedSum
from pyro_decomp.divergences.kl import InclusiveKL
from pyro_decomp.divergences.mmd import MMD
from pyro_decomp.divergences.wasserstein import EnergyDistance
from pyro_decomp.programs.traces import TracePair
from tests.divergences.sites import encoded, traced


class Constant(Divergence):
    """Always the same, and counts how often it was asked."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.asked = 0

    def __call__(self, traces: TracePair) -> Tensor:
        self.asked += 1
        return torch.tensor(self.value)


@pytest.fixture
def pair() -> TracePair:
    return traced(*encoded(dist.Normal(torch.randn(8, 2).double(), 0.3).to_event(1)))


def test_divergences_add_and_take_weights(pair: TracePair) -> None:
    a, b, c = Constant(1.0), Constant(10.0), Constant(100.0)
    assert (a + b)(pair) == 11
    assert (2 * a + b * 3 + c)(pair) == 132
    assert (0.5 * (a + 2 * (b + c)))(pair) == 110.5
    assert sum([a, b, c])(pair) == 111


def test_sums_are_taken_apart() -> None:
    a, b, c = Constant(1.0), Constant(10.0), Constant(100.0)
    whole = WeightedSum([(2.0, a + 3 * b), (1.0, 0.5 * c + a)])
    assert whole.parts == [(2.0, a), (6.0, b), (0.5, c), (1.0, a)]


def test_a_part_of_weight_zero_is_not_computed(pair: TracePair) -> None:
    a, b = Constant(1.0), Constant(10.0)
    assert (0 * a + b)(pair) == 10
    assert a.asked == 0
    assert (0.0 * (a + b))(pair) == 0
    assert (torch.zeros(()) * a + b)(pair) == 10  # a tensor may be changed, or learned
    assert a.asked == 1


def test_weights_may_be_tensors(pair: TracePair) -> None:
    weight = torch.tensor(2.0, requires_grad=True)
    a, b = Constant(1.0), Constant(10.0)
    for whole in (weight * (a + 3 * b), (a + 3 * b) * weight):
        value = whole(pair)
        assert value == 62
        assert torch.autograd.grad(value, weight) == (torch.tensor(31.0),)
    total = a + 2 * (weight * b)
    for expected in (41, 101):  # every value has a graph of its own
        assert total(pair) == expected
        assert torch.autograd.grad(total(pair), weight) == (torch.tensor(20.0),)
        with torch.no_grad():
            weight.fill_(5.0)


def test_a_sum_gives_what_its_parts_do(pair: TracePair) -> None:
    state = torch.get_rng_state()
    value = (InclusiveKL() + 10 * MMD() + 0.1 * EnergyDistance())(pair)
    torch.set_rng_state(state)
    parts = [InclusiveKL()(pair), MMD()(pair), EnergyDistance()(pair)]
    assert torch.allclose(value, parts[0] + 10 * parts[1] + 0.1 * parts[2], rtol=1e-12)


def test_what_is_no_divergence_is_refused() -> None:
    a = Constant(1.0)
    for wrong in (lambda: a + 3, lambda: 1 + a, lambda: a * "2", lambda: a * a):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(ValueError, match=r"weight: expected a finite number of at least 0, got sh"):
        a * torch.ones(2)
