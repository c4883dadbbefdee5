"""log p(x) by importance weighting, on models whose log p(x) is known."""

import math
from dataclasses import dataclass
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp import AggregateELBO
from pyro_decomp.analysis import log_likelihood
from pyro_decomp.analysis.encoding import EncodedData
from pyro_decomp.analysis.log_likelihood import importance_weighted_log_px
from pyro_decomp.data.batches import Data
from tests.statistics import STANDARD_ERRORS, assert_mean

N, D, K = 30, 3, 2  # data in all, length of a datum, length of a latent


def estimate(model: Any, guide: Any, x: Any, num_samples: int) -> Tensor:
    data = EncodedData(Data.of(x), model, guide, AggregateELBO())
    return importance_weighted_log_px(data, num_samples=num_samples)


@dataclass
class LinearGaussian:
    """z ~ N(0, I), x|z ~ N(W z, 0.25 I), and a guide with ``spread`` times the right covariance."""

    weight: Tensor
    spread: float = 1.0
    size: int = N

    def model(self, x: Tensor) -> None:
        with pyro.plate("data", self.size, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight.T, 0.5).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        precision = torch.eye(K).double() + self.weight.T @ self.weight / 0.25
        loc = x @ self.weight @ precision.inverse() / 0.25
        with pyro.plate("data", self.size, subsample=x):
            covariance = self.spread * precision.inverse()
            pyro.sample("z", dist.MultivariateNormal(loc, covariance))

    def log_px(self, x: Tensor) -> Tensor:
        covariance = self.weight @ self.weight.T + 0.25 * torch.eye(D).double()
        return dist.MultivariateNormal(torch.zeros(D).double(), covariance).log_prob(x)

    def estimate(self, x: Tensor, num_samples: int) -> Tensor:
        return estimate(self.model, self.guide, x, num_samples)


@pytest.fixture(params=[None, 7, 60], ids=["one block", "two data a block", "blocks of copies"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        monkeypatch.setattr(log_likelihood, "ROW_ELEMENTS", request.param)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(10, D, dtype=torch.double)


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(D, K, dtype=torch.double)


@pytest.mark.usefixtures("block")
@pytest.mark.parametrize("num_samples", [1, 7])
def test_it_is_exact_where_the_guide_is_the_posterior(
    x: Tensor, weight: Tensor, num_samples: int
) -> None:
    model = LinearGaussian(weight)
    found = model.estimate(x, num_samples)
    torch.testing.assert_close(found, model.log_px(x), rtol=1e-10, atol=1e-10)


@pytest.mark.full(but=["10000"])
@pytest.mark.parametrize("elements", [60, 10_000])
def test_the_weights_are_unbiased_for_the_density(
    x: Tensor, weight: Tensor, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_likelihood, "ROW_ELEMENTS", elements)
    model = LinearGaussian(weight, spread=2.0)
    estimates = torch.stack([model.estimate(x, 5) for _ in range(100)])
    assert_mean(estimates.exp(), model.log_px(x).exp())


@pytest.mark.full
def test_it_is_a_lower_bound_that_tightens_with_the_samples(x: Tensor, weight: Tensor) -> None:
    model = LinearGaussian(weight, spread=8.0)
    exact = model.log_px(x).mean()
    means, errors = [], []
    for num_samples in (1, 5, 500):
        estimates = torch.stack([model.estimate(x, num_samples).mean() for _ in range(60)])
        means.append(estimates.mean())
        errors.append(STANDARD_ERRORS * estimates.std() / 60**0.5)
    assert means[0] + errors[0] < means[1] - errors[1]
    assert means[1] + errors[1] < exact
    assert abs(means[2] - exact) < errors[2] + 0.01  # what is left of the bias is below 0.01


def test_one_sample_is_the_elbo(x: Tensor, weight: Tensor) -> None:
    model = LinearGaussian(weight, spread=2.0)
    pyro.set_rng_seed(1)
    found = model.estimate(x, 1).mean()
    pyro.set_rng_seed(1)
    elbo = AggregateELBO(analytic_kl=False).loss(model.model, model.guide, x) / -N
    assert found.item() == pytest.approx(elbo, rel=1e-10)


def test_the_size_of_the_data_set_does_not_matter(x: Tensor, weight: Tensor) -> None:
    expected = LinearGaussian(weight).estimate(x, 3)
    for size in (1, 10_000):
        torch.testing.assert_close(LinearGaussian(weight, size=size).estimate(x, 3), expected)


def test_a_datum_does_not_depend_on_those_beside_it(x: Tensor, weight: Tensor) -> None:
    model = LinearGaussian(weight)
    whole = model.estimate(x, 5)
    torch.testing.assert_close(whole[3:5], model.estimate(x[3:5], 5))


@pytest.mark.usefixtures("block")
def test_programs_of_several_tensors_get_the_rows_of_each(x: Tensor, weight: Tensor) -> None:
    """x - shift is what the linear model says, with a shift of each datum's own class."""
    linear = LinearGaussian(weight)
    shifts, classes = torch.randn(4, D).double(), torch.arange(len(x)) % 4

    def model(x: Tensor, classes: Tensor) -> None:
        linear.model(x - shifts[classes])

    def guide(x: Tensor, classes: Tensor) -> None:
        linear.guide(x - shifts[classes])

    data = (x, classes)
    found = estimate(model, guide, data, 5)
    expected = linear.log_px(x - shifts[classes])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_an_auxiliary_site_is_divided_out() -> None:
    """x|z ~ N(log z, 1) with log z ~ N(0, 1); the guide draws log z as an auxiliary."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.LogNormal(torch.zeros(()).double(), 1.0))
            pyro.sample("x", dist.Normal(z.log(), 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            u = pyro.sample("u", dist.Normal(x / 2, 0.5**0.5), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(u.exp(), log_density=-u))

    x = torch.randn(10, dtype=torch.double)
    found = estimate(model, guide, x, 4)
    torch.testing.assert_close(found, dist.Normal(0.0, math.sqrt(2)).log_prob(x))


def test_it_keeps_no_graph(x: Tensor, weight: Tensor) -> None:
    assert not LinearGaussian(weight.requires_grad_()).estimate(x, 3).requires_grad


def test_arguments_are_checked(x: Tensor, weight: Tensor) -> None:
    with pytest.raises(ValueError, match="num_samples: expected a positive whole number, got 0"):
        LinearGaussian(weight).estimate(x, 0)
