"""The map of codes to Normal, in the middle and far out."""

import mpmath
import numpy as np
import pytest
import torch
from scipy.special import log_ndtr, ndtri
from torch.distributions import (
    Categorical,
    Cauchy,
    Distribution,
    Gamma,
    Independent,
    Laplace,
    LogNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Poisson,
    StudentT,
    Uniform,
)

from pyro_decomp.errors import DataError
from pyro_decomp.metrics import normal_scores


def double(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.double)


def student_log_lower(degrees: float, z: float) -> float:
    with mpmath.workdps(50):
        x = mpmath.mpf(degrees) / (degrees + mpmath.mpf(z) ** 2)
        half = mpmath.betainc(mpmath.mpf(degrees) / 2, 0.5, 0, x, regularized=True) / 2
        return float(mpmath.log(half))


@pytest.mark.parametrize("degrees", [1.0, 3.0, 50.0, 1e5])
@pytest.mark.parametrize("z", [-0.3, -4.0, -45.0, -1e8, -1e100])
def test_student(degrees: float, z: float) -> None:
    low, high = normal_scores([[z], [-z]], StudentT(double(degrees)))[:, 0]
    assert log_ndtr(low) == pytest.approx(student_log_lower(degrees, z), rel=1e-10)
    assert high == -low


def test_location_and_scale_of_each_dimension() -> None:
    loc, scale = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 3.0]).double()
    z = np.random.default_rng(0).normal(size=(20, 2))
    plain = normal_scores(z, StudentT(double(4.0)))
    placed = normal_scores(
        z * scale.numpy() + loc.numpy(), Independent(StudentT(4.0, loc, scale), 1)
    )
    assert placed == pytest.approx(plain, rel=1e-9)


def test_a_normal_prior_is_standardised() -> None:
    z = np.array([[1e6, -1e300]])
    scores = normal_scores(z, Normal(torch.tensor([1.0, 0.0]), torch.tensor([2.0, 1.0])))
    assert scores == pytest.approx((z - [1, 0]) / [2, 1], rel=1e-15)


def test_many_degrees_of_freedom_are_nearly_normal() -> None:
    z = np.linspace(-3, 3, 13)[:, None]
    assert normal_scores(z, StudentT(double(1e5))) == pytest.approx(z, abs=2e-4)


def test_laplace_far_out() -> None:
    low, high = normal_scores([[-900.0], [900.0]], Laplace(0.0, 1.0))[:, 0]
    assert log_ndtr(low) == pytest.approx(-900 - np.log(2), rel=1e-12)
    assert high == -low
    middle = np.array([[-0.5], [0.0], [0.5]])
    expected = ndtri([[0.5 * np.exp(-0.5)], [0.5], [1 - 0.5 * np.exp(-0.5)]])
    assert normal_scores(middle, Laplace(0.0, 1.0)) == pytest.approx(expected, abs=1e-12)


def test_cauchy_is_student_of_one_degree() -> None:
    z = [[-1e9], [0.2], [1e50]]
    assert normal_scores(z, Cauchy(0.0, 1.0)) == pytest.approx(
        normal_scores(z, StudentT(double(1.0))), rel=1e-12
    )


def test_a_mixture_far_out() -> None:
    """The sparse prior: out there only the wide component is left, with its weight."""
    weights, scales = torch.tensor([0.8, 0.2]).double(), torch.tensor([0.05**0.5, 1.0]).double()
    prior = MixtureSameFamily(Categorical(weights), Normal(torch.zeros(2).double(), scales))
    low, zero, high = normal_scores([[-30.0], [0.0], [30.0]], prior)[:, 0]
    assert log_ndtr(low) == pytest.approx(np.log(0.2) + log_ndtr(-30.0), rel=1e-12)
    assert high == -low
    assert zero == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize(
    "prior",
    [
        StudentT(torch.tensor([3.0, 8.0])),
        Laplace(1.0, 2.0),
        LogNormal(0.0, 1.0),
        Uniform(-1.0, 3.0),
        Gamma(double(2.0), double(3.0)),
    ],
    ids=lambda prior: type(prior).__name__,
)
def test_draws_become_standard_normal(prior: Distribution) -> None:
    z = prior.sample((4000, 2) if not prior.batch_shape else (4000,))
    scores = torch.from_numpy(normal_scores(z, prior))
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        values = scores**power
        error = values.std(0) / len(values) ** 0.5
        assert ((values.mean(0) - moment).abs() < 4.3 * error).all()
    order = np.argsort(z.numpy(), 0, kind="stable")
    assert (torch.from_numpy(order) == scores.argsort(dim=0, stable=True)).all()


@pytest.mark.parametrize(
    ("codes", "prior", "message"),
    [
        ([[-1.0]], Gamma(2.0, 3.0), r"in the support of the prior Gamma, got -1 in row 0, dim"),
        ([[0.5], [1e9]], Gamma(2.0, 3.0), r"within reach of the cdf of Gamma, got 1e\+09 in row 1"),
        ([[1.0]], Poisson(2.0), "prior: expected a distribution with a cdf, got Poisson"),
        ([[1.0]], MultivariateNormal(torch.zeros(1), torch.eye(1)), "independent dimensions"),
        ([[1.0]], Normal(torch.zeros(3), 1.0), "codes: expected 3 dimensions .* got 1"),
        ([[1.0]], "normal", "prior: expected a torch distribution, got str"),
    ],
)
def test_what_cannot_be_mapped(codes: list[list[float]], prior: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        normal_scores(codes, prior)
