"""Every objective against plain expressions: values, gradients, and finite differences."""

from itertools import product

import pyro
import pytest
import torch

from tests.elbo.plain import FAMILIES, NUM_DATA, OBJECTIVES, PARTICLES, WIDTH, Plain, Programs
from tests.not_yet import rows

EACH = list(product(OBJECTIVES, FAMILIES, (30, 7), (True, False)))
STEP = 1e-5


@pytest.fixture(autouse=True)
def double() -> None:
    torch.set_default_dtype(torch.float64)


# every 23rd is no slow test, so that objectives, families and sizes all occur
NAMES = ["; ".join(map(str, row)) for row in EACH]


@pytest.mark.full(but=["beta; normal; 30; True", "beta; low rank; 7; False"])
@pytest.mark.parametrize("row", rows("plain formulas", NAMES, often=NAMES[::23]))
def test_values_and_gradients_are_those_of_plain_expressions(row: str) -> None:
    name, family, size, analytic_kl = EACH[NAMES.index(row)]
    programs, objective = Programs(family), OBJECTIVES[name]
    x = torch.randn(NUM_DATA, WIDTH, generator=torch.Generator().manual_seed(0))[:size]
    elbo = objective.build(num_particles=PARTICLES, analytic_kl=analytic_kl)

    def loss() -> torch.Tensor:
        pyro.set_rng_seed(5)
        return elbo.differentiable_loss(programs.model, programs.guide, x)

    found = loss()
    pyro.set_rng_seed(5)
    wanted = -NUM_DATA * objective.plain(Plain(programs, x, analytic_kl))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    parameters = programs.parameters()
    ours, plain = (
        torch.autograd.grad(each, parameters, allow_unused=True, materialize_grads=True)
        for each in (found, wanted)
    )
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * (1 + other.abs().max()))
    if size > 7:
        return
    torch.manual_seed(1)
    direction = [torch.randn_like(parameter) for parameter in parameters]
    values = []
    for sign in (1, -1):
        for parameter, along in zip(parameters, direction, strict=True):
            parameter.data += sign * STEP * along
        values.append(loss().item())
        for parameter, along in zip(parameters, direction, strict=True):
            parameter.data -= sign * STEP * along
    slope = sum((g * along).sum().item() for g, along in zip(ours, direction, strict=True))
    assert slope == pytest.approx((values[0] - values[1]) / (2 * STEP), rel=1e-5, abs=1e-3)
