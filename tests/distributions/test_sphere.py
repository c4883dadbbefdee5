"""The uniform distribution on spheres."""

import math

import pytest
import torch

from pyro_decomp.distributions import UniformSphere
from tests.statistics import assert_mean


@pytest.mark.parametrize(("dim", "area"), [(2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2)])
def test_areas(dim: int, area: float) -> None:
    p = UniformSphere(dim, like=torch.empty(()).double())
    z = p.sample((10_000,))
    torch.testing.assert_close(p.log_prob(z).exp(), torch.full((10_000,), 1 / area).double())
    assert p.entropy().item() == pytest.approx(math.log(area))


def test_moments() -> None:
    p = UniformSphere(7, like=torch.empty(()).double())
    z = p.sample((10_000,))
    assert_mean(z, p.mean)
    assert_mean(z.square(), p.variance)


def test_a_batch() -> None:
    p = UniformSphere(3).expand((4, 2))
    assert p.sample((5,)).shape == (5, 4, 2, 3)
    assert p.log_prob(UniformSphere(3).sample()).shape == (4, 2)
    assert p.entropy().shape == (4, 2)


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="dim: expected a whole number of at least 2, got 1"):
        UniformSphere(1)
    with pytest.raises(ValueError, match="within the support"):
        UniformSphere(3).log_prob(torch.ones(3))
