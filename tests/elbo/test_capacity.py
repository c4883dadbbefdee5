import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp import AggregateELBO
from pyro_decomp.elbo.capacity import CapacityELBO
from tests.example_programs import PROGRAMS, vae

LOCS = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.double)  # KLs of 0, 0.5, 2 and 4.5 nats
MEAN_KL = 1.75


def model(x: Tensor) -> None:
    with pyro.plate("data", 4, subsample=x):
        z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=torch.double), 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x: Tensor) -> None:
    with pyro.plate("data", 4, subsample=x):
        pyro.sample("z", dist.Normal(x, 1.0))


@pytest.mark.parametrize("capacity", [0.0, 1.0, MEAN_KL, 3.0])
def test_the_gap_is_that_of_the_mean(capacity: float) -> None:
    estimate = CapacityELBO(gamma=10.0, capacity=capacity).evaluate(model, guide, LOCS)
    gap, mean_of_gaps = estimate.terms["capacity_gap"], (LOCS**2 / 2 - capacity).abs().mean()
    torch.testing.assert_close(gap.item(), abs(MEAN_KL - capacity))
    if capacity:  # at 0 the two agree
        assert abs(gap - mean_of_gaps) > 0.1
    torch.testing.assert_close(estimate.objective, estimate.terms["log_likelihood"] - 10.0 * gap)


@pytest.mark.full(but=["VAE", "nested plates", "two sites"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_without_capacity_it_is_the_beta_vae(name: str) -> None:
    programs = PROGRAMS[name]()
    pyro.set_rng_seed(1)
    estimate = CapacityELBO(4.0, 0.0).evaluate(programs.model, programs.guide, programs.x)
    beta = math.copysign(4.0, estimate.terms["kl"].item())  # a Monte-Carlo estimate may be negative
    pyro.set_rng_seed(1)
    expected = AggregateELBO(beta=beta).loss(programs.model, programs.guide, programs.x)
    assert estimate.loss.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("capacity", "beta"), [(0.1, 7.0), (1e3, -7.0)])
def test_gradients_are_the_beta_vaes_on_either_side(capacity: float, beta: float) -> None:
    programs, gradients = vae(), []
    below = AggregateELBO()
    below.beta = beta  # negative below the capacity, where the KL is to grow
    for elbo in (CapacityELBO(gamma=7.0, capacity=capacity), below):
        pyro.set_rng_seed(1)
        parameters = list(programs.parameters().values())
        estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
        assert (estimate.terms["kl"] - capacity) * beta > 0
        gradients.append(torch.autograd.grad(estimate.loss, parameters, allow_unused=True))
    torch.testing.assert_close(*gradients)


def test_every_argument_changes_the_loss() -> None:
    def loss(**changes: float) -> float:
        pyro.set_rng_seed(1)
        return CapacityELBO(**({"gamma": 2.0, "capacity": 1.0} | changes)).loss(model, guide, LOCS)

    losses = [loss(), loss(gamma=3.0), loss(capacity=0.5), loss(num_particles=2)]
    assert len({*losses, loss(analytic_kl=False)}) == 5


@pytest.mark.parametrize("name", ["gamma", "capacity"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_what_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected a finite number"):
        CapacityELBO(**{name: value})


def test_the_gap_is_that_of_the_mean_over_particles_too() -> None:
    programs = vae()
    elbo = CapacityELBO(capacity=1.0, num_particles=50, analytic_kl=False)
    terms = elbo.evaluate(programs.model, programs.guide, programs.x).terms
    torch.testing.assert_close(terms["capacity_gap"], (terms["kl"] - 1.0).abs())
