"""The von Mises-Fisher distribution against closed forms, quadrature and its own samples."""

import math

import numpy as np
import pytest
import torch
from pyro.distributions.testing.gof import unif01_goodness_of_fit
from scipy import stats
from torch import Tensor
from torch.distributions import kl_divergence
from torch.nn.functional import normalize

from pyro_decomp.distributions import UniformSphere, VonMisesFisher
from pyro_decomp.distributions.von_mises_fisher import polar_angle
from tests.statistics import FAILURE_RATE, assert_mean

DIMS = (2, 3, 5, 40)
KAPPAS = (0.0, 0.7, 6.0, 300.0)


def direction(dim: int) -> Tensor:
    return normalize(torch.linspace(-1, 2, dim).double(), dim=0)


def made(dim: int, kappa: float) -> VonMisesFisher:
    return VonMisesFisher(direction(dim), torch.tensor(kappa, dtype=torch.double))


def polar_rule(dim: int, kappa: float, stop: float = math.pi) -> tuple[Tensor, Tensor]:
    """Angles from 0 to ``stop``, and the probability of each, by Gauss's rule on 200 panels."""
    nodes, weights = np.polynomial.legendre.leggauss(10)
    width = stop / 200
    angle = (np.arange(200)[:, None] + (nodes + 1) / 2).ravel() * width
    weight = np.tile(weights * width / 2, 200)
    # the density of the angle: that on the sphere times the area of the ring at it
    p = VonMisesFisher(torch.eye(1, dim)[0].double(), torch.tensor(kappa, dtype=torch.double))
    t = torch.tensor(angle)
    z = torch.zeros(len(t), dim).double()
    z[:, 0], z[:, 1] = t.cos(), t.sin()
    log_ring = (math.log(2) + (dim - 1) / 2 * math.log(math.pi) - math.lgamma((dim - 1) / 2)) + (
        dim - 2
    ) * t.sin().log()
    return t, torch.tensor(weight) * (p.log_prob(z) + log_ring).exp()


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kappa", KAPPAS)
def test_it_integrates_to_one_and_has_its_moments(dim: int, kappa: float) -> None:
    p = made(dim, kappa)
    angle, weight = polar_rule(dim, kappa)
    assert weight.sum().item() == pytest.approx(1, rel=1e-10)
    length = (weight * angle.cos()).sum().item()
    assert p.mean_resultant_length.item() == pytest.approx(length, abs=1e-11)
    square = (weight * angle.cos().square()).sum()
    m = direction(dim)
    second = square * m.square() + (1 - square) / (dim - 1) * (1 - m.square())
    torch.testing.assert_close(p.variance, second - (length * m).square(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kappa", KAPPAS[1:])
def test_three_dimensions(kappa: float) -> None:
    """C_3(kappa) = kappa / (4 pi sinh kappa)."""
    z = UniformSphere(3, like=torch.empty(()).double()).sample((20,))
    log_sinh = kappa + math.log(-math.expm1(-2 * kappa) / 2)
    expected = math.log(kappa / (4 * math.pi)) - log_sinh + kappa * z @ direction(3)
    torch.testing.assert_close(made(3, kappa).log_prob(z), expected, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("dim", DIMS)
def test_scipy(dim: int) -> None:
    z = made(dim, 6.0).sample((20,))
    theirs = stats.vonmises_fisher(direction(dim).numpy(), 6.0)
    np.testing.assert_allclose(made(dim, 6.0).log_prob(z), theirs.logpdf(z.numpy()), rtol=1e-10)
    np.testing.assert_allclose(made(dim, 6.0).entropy(), theirs.entropy(), rtol=1e-10)


@pytest.mark.full(but=["*-3", "*-40"])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kappa", KAPPAS)
def test_samples_have_the_moments(dim: int, kappa: float) -> None:
    p = made(dim, kappa)
    z = p.sample((10_000,))
    assert p.support.check(z).all()
    assert_mean(z, p.mean)
    assert_mean((z - p.mean).square(), p.variance)


@pytest.mark.full(but=["*-3", "*-40"])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kappa", KAPPAS)
def test_the_angle_has_its_distribution(dim: int, kappa: float) -> None:
    angle, weight = polar_rule(dim, kappa)
    draws = polar_angle(torch.full((10_000,), kappa, dtype=torch.double), dim)
    between = (weight.cumsum(0) - weight / 2).numpy()
    levels = np.interp(draws.numpy(), angle.numpy(), between)
    assert unif01_goodness_of_fit(torch.tensor(levels)) > FAILURE_RATE


@pytest.mark.parametrize("kappa", [1.0, 1e6])
def test_the_angle_in_three_dimensions(kappa: float) -> None:
    """There its distribution function is (1 - exp(-kappa (1 - cos t))) / (1 - exp(-2 kappa))."""
    gap = 2 * (polar_angle(torch.full((10_000,), kappa, dtype=torch.double), 3) / 2).sin().square()
    levels = torch.expm1(-kappa * gap) / math.expm1(-2 * kappa)
    assert unif01_goodness_of_fit(levels) > FAILURE_RATE


def test_the_angles_gradient_in_three_dimensions() -> None:
    """At a fixed level u the cosine is 1 + log(1 - u (1 - exp(-2 kappa))) / kappa."""
    kappa = torch.tensor([0.0, 1e-3, 0.5, 4.0, 80.0, 3e4]).double().repeat_interleave(50)
    kappa.requires_grad_()
    angle = polar_angle(kappa, 3)
    (slope,) = torch.autograd.grad(angle.sum(), kappa)
    t, k = angle.detach()[50:], kappa.detach()[50:]
    level = torch.expm1(-k * 2 * (t / 2).sin().square()) / torch.expm1(-2 * k)
    above = 1 + level * torch.expm1(-2 * k)
    cosine_slope = -above.log() / k**2 - 2 * level * (-2 * k).exp() / (above * k)
    torch.testing.assert_close(slope[50:], -cosine_slope / t.sin(), rtol=1e-6, atol=1e-12)
    sine = angle.detach()[:50].sin()  # at 0: from p(t) (1 + kappa cos t)
    torch.testing.assert_close(slope[:50], -sine / 2)


@pytest.mark.full(but=["6.0-*"])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kappa", [0.7, 6.0, 300.0])
def test_the_angles_gradient_keeps_its_level(dim: int, kappa: float) -> None:
    """P(angle <= t(kappa)) does not change with kappa: differences of quadrature."""
    start = torch.full((6,), kappa, dtype=torch.double).requires_grad_()
    angle = polar_angle(start, dim)
    (slope,) = torch.autograd.grad(angle.sum(), start)
    h = 1e-4 * kappa
    for t, dt in zip(angle.tolist(), slope.tolist(), strict=True):
        up, down = (
            polar_rule(dim, kappa + sign * h, t + sign * h * dt)[1].sum() for sign in (1, -1)
        )
        assert abs((up - down) / (2 * h)).item() < 1e-6 / kappa


@pytest.mark.full(but=["3"])
@pytest.mark.parametrize("dim", [2, 3, 6])
def test_gradients_of_an_expectation(dim: int) -> None:
    """E exp(a.z) is C(kappa) / C(|kappa m + a|), and so are its gradients in the mean."""
    a = torch.linspace(1, -0.5, dim).double()
    kappa = torch.tensor(3.0).double().requires_grad_()
    m = direction(dim).requires_grad_()

    def log_c(k: Tensor) -> Tensor:
        axis = torch.eye(1, dim)[0].double()
        return VonMisesFisher(axis, k).log_prob(axis) - k

    exact = (log_c(kappa) - log_c((kappa * m + a).norm())).exp()
    by_kappa, by_m = torch.autograd.grad(exact, (kappa, m))
    kappas = torch.full((20_000,), 3.0).double().requires_grad_()
    ms = direction(dim).repeat(20_000, 1).requires_grad_()
    values = (VonMisesFisher(ms, kappas).rsample() @ a).exp()
    assert_mean(values.detach(), exact.item())
    each_kappa, each_m = torch.autograd.grad(values.sum(), (kappas, ms))
    assert_mean(each_kappa, by_kappa)
    tangent = torch.eye(dim).double() - torch.outer(direction(dim), direction(dim))
    assert_mean(each_m @ tangent, by_m @ tangent)


@pytest.mark.parametrize("dim", DIMS)
def test_divergences(dim: int) -> None:
    q, p = made(dim, 6.0), VonMisesFisher(direction(dim).flip(0), torch.tensor(2.0).double())
    uniform = UniformSphere(dim, like=direction(dim))
    z = q.sample((20_000,))
    assert_mean(q.log_prob(z) - p.log_prob(z), kl_divergence(q, p))
    assert_mean(-q.log_prob(z), q.entropy())
    torch.testing.assert_close(kl_divergence(q, uniform), uniform.entropy() - q.entropy())
    none = made(dim, 0.0)
    assert kl_divergence(none, uniform).item() == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(none.log_prob(z), uniform.log_prob(z))


def test_the_density_can_be_differentiated() -> None:
    z = made(4, 6.0).sample((3,))
    parameters = (direction(4).repeat(3, 1), torch.tensor([0.4, 6.0, 50.0]).double())

    def log_prob(loc: Tensor, kappa: Tensor) -> Tensor:
        return VonMisesFisher(normalize(loc, dim=-1), kappa, validate_args=False).log_prob(z)

    leaves = tuple(parameter.clone().requires_grad_() for parameter in parameters)
    assert torch.autograd.gradcheck(log_prob, leaves)
    assert torch.autograd.gradgradcheck(log_prob, leaves)


def test_a_batch() -> None:
    p = VonMisesFisher(direction(3), torch.tensor([1.0, 5.0]).double()).expand((4, 2))
    assert (p.batch_shape, p.event_shape) == ((4, 2), (3,))
    z = p.sample((7,))
    assert z.shape == (7, 4, 2, 3)
    torch.testing.assert_close(p.log_prob(z)[..., 1], made(3, 5.0).log_prob(z[..., 1, :]))
    assert (p.entropy().shape, p.variance.shape) == ((4, 2), (4, 2, 3))


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="loc"):
        VonMisesFisher(torch.ones(3), torch.tensor(1.0))
    with pytest.raises(ValueError, match="concentration"):
        VonMisesFisher(torch.eye(3)[0], torch.tensor(-1.0))
    with pytest.raises(ValueError, match="loc: expected vectors of length 2 or more"):
        VonMisesFisher(torch.ones(1), torch.tensor(1.0))
    with pytest.raises(ValueError, match="within the support"):
        made(3, 1.0).log_prob(torch.ones(3).double())
