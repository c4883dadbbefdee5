"""KL(p || q) against quadrature, closed forms and finite differences."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from pyro_decomp import AggregateELBO, InclusiveKL
from pyro_decomp.aggregate_posterior import AggregatePosterior
from pyro_decomp.data import pinwheel
from pyro_decomp.elbo import Estimate
from pyro_decomp.errors import ModelError
from tests.example_programs import mixture_prior
from tests.statistics import assert_mean


def evaluate(
    prior: Callable[[], Tensor], guide_fn: dist.TorchDistribution, num_samples: int | None = None
) -> Estimate:
    """The objective with only KL(p || q), for a guide that gives one distribution a datum."""
    size = guide_fn.batch_shape[0]
    x = torch.zeros(size, 1, dtype=torch.double)

    def model(x: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            z = prior()
            loc = z.reshape(size, -1)[:, :1]
            pyro.sample("x", dist.Normal(loc, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            pyro.sample("z", guide_fn)

    elbo = AggregateELBO(alpha=1.0, divergence=InclusiveKL(num_samples))
    return elbo.evaluate(model, guide, x)


def pinwheel_encodings() -> dist.TorchDistribution:
    """Encodings of the 400 points at themselves, rotated and spread a little."""
    x = pinwheel(seed=0).double()
    return dist.Normal(1.1 * x.flip(-1), 0.15 + 0.1 * x.abs()).to_event(1)


def by_hand_log_pz(z: Tensor) -> Tensor:
    """Four Gaussians of variance 0.03 I at (0, +-1) and (+-1, 0), written out."""
    locs = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]], dtype=torch.double)
    squares = (z[:, None] - locs).square().sum(-1)
    return torch.logsumexp(-squares / 0.06, 1) - math.log(4 * 2 * math.pi * 0.03)


def by_quadrature(log_p: Callable[[Tensor], Tensor], fn: dist.TorchDistribution) -> float:
    """KL(p || q) on a grid of 161 by 161 points over [-2, 2]^2."""
    axis = torch.linspace(-2, 2, 161, dtype=torch.double)
    total = 0.0
    for z in torch.cartesian_prod(axis, axis).split(3000):
        log_qz = torch.logsumexp(fn.log_prob(z[:, None]), 1) - math.log(len(fn.mean))
        total += float((log_p(z).exp() * (log_p(z) - log_qz)).sum())
    return total * float(axis[1] - axis[0]) ** 2


@pytest.fixture
def draws() -> dist.TorchDistribution:
    return pinwheel_encodings()


@pytest.mark.full
def test_the_full_batch_matches_quadrature_on_the_pinwheel(draws: dist.TorchDistribution) -> None:
    expected = by_quadrature(by_hand_log_pz, draws)
    assert 0.1 < expected < 5
    with torch.no_grad():
        (pair,) = evaluate(mixture_prior, draws).pairs
        z, log_pz = pair.prior.draw(40_000)
        samples = log_pz - pair.aggregate_posterior.log_prob(z)
        estimates = [InclusiveKL()(pair) for _ in range(50)]
    assert_mean(samples, expected)
    assert_mean(torch.stack(estimates), expected)
    # The reference code adds the log density once a dimension: log q - 2 log p in two dimensions.
    with pytest.raises(AssertionError, match="standard errors away"):
        assert_mean(samples + log_pz, expected)


def test_the_mixtures_log_density_is_counted_once(draws: dist.TorchDistribution) -> None:
    (pair,) = evaluate(mixture_prior, draws).pairs
    z, log_pz = pair.prior.draw()
    torch.testing.assert_close(log_pz, by_hand_log_pz(z["z"]), rtol=1e-6, atol=1e-7)


def test_it_is_zero_for_the_prior_itself_and_has_no_noise_there() -> None:
    fn = dist.Normal(torch.zeros(9, 2, dtype=torch.double), 1.0).to_event(1)
    prior = dist.Normal(torch.zeros(2, dtype=torch.double), 1.0).to_event(1)
    estimate = evaluate(lambda: pyro.sample("z", prior), fn)
    assert estimate.terms["divergence"].item() == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize("num_samples", [None, 1, 7, 1000])
def test_num_samples_is_how_many_are_drawn(
    draws: dist.TorchDistribution, num_samples: int | None
) -> None:
    (pair,) = evaluate(mixture_prior, draws, num_samples).pairs
    pyro.set_rng_seed(2)
    found = InclusiveKL(num_samples)(pair)
    pyro.set_rng_seed(2)
    z, log_pz = pair.prior.draw(num_samples)
    assert len(log_pz) == (num_samples or 400)
    assert torch.equal(found, (log_pz - pair.aggregate_posterior.log_prob(z)).mean())


@pytest.mark.full
def test_the_guide_is_pulled_as_finite_differences_say() -> None:
    start = torch.randn(5, 2, dtype=torch.double)

    def value(loc: Tensor) -> Tensor:
        pyro.set_rng_seed(2)
        return evaluate(mixture_prior, dist.Normal(loc, 0.8).to_event(1)).terms["divergence"]

    assert torch.autograd.gradcheck(value, start.requires_grad_())


@pytest.mark.full
def test_a_learned_prior_gets_the_gradient_of_the_closed_form() -> None:
    p_loc = torch.tensor([0.3, -0.4], dtype=torch.double, requires_grad=True)
    p_scale = torch.tensor([0.5, 1.3], dtype=torch.double, requires_grad=True)
    one = torch.ones(1000, 2, dtype=torch.double)  # q(z) is one Gaussian
    fn = dist.Normal(0.2 * one, 0.9 * one).to_event(1)

    def prior() -> Tensor:
        return pyro.sample("z", dist.Normal(p_loc, p_scale).to_event(1))

    closed = torch.distributions.kl_divergence(
        dist.Normal(p_loc, p_scale), dist.Normal(0.2, 0.9)
    ).sum()
    expected = torch.autograd.grad(closed, [p_loc, p_scale])
    estimates = [evaluate(prior, fn).terms["divergence"] for _ in range(40)]
    gradients = [torch.autograd.grad(value, [p_loc, p_scale]) for value in estimates]
    assert_mean(torch.stack(estimates).detach(), closed.item())
    for found, right in zip(zip(*gradients, strict=True), expected, strict=True):
        assert_mean(torch.stack(found), right)


def learned_mixture(locs: Tensor) -> dist.TorchDistribution:
    clusters = dist.Categorical(logits=torch.zeros(2, dtype=torch.double))
    return dist.MixtureSameFamily(clusters, dist.Normal(locs, 0.5).to_event(1))


def test_one_site_without_reparametrisation_among_others_is_refused() -> None:
    loc = torch.zeros(2, dtype=torch.double, requires_grad=True)

    def model(x: Tensor) -> None:
        with pyro.plate("data", 9, subsample=x):
            z1 = pyro.sample("z1", dist.Normal(loc, 1.0).to_event(1))
            z2 = pyro.sample("z2", learned_mixture(z1[:, None] + torch.eye(2)))
            pyro.sample("x", dist.Normal(z2, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", 9, subsample=x):
            for name in ("z1", "z2"):
                pyro.sample(name, dist.Normal(x, 1.0).to_event(1))

    x = torch.randn(9, 2, dtype=torch.double)
    with pytest.raises(ModelError, match="the prior of 'z2' is learned"):
        AggregateELBO(alpha=1.0).evaluate(model, guide, x)


def test_no_latent_in_the_data_plate_has_no_aggregate_posterior() -> None:
    def model(x: Tensor) -> None:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 9, subsample=x):
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(ModelError, match="no latent site is inside the data plate 'data'"):
        AggregateELBO(alpha=1.0).evaluate(model, guide, torch.zeros(9))


def test_a_family_of_ones_own_is_scored_too(draws: dist.TorchDistribution) -> None:
    laplace = dist.Laplace(draws.mean, draws.stddev).to_event(1)
    (pair,) = evaluate(mixture_prior, laplace).pairs
    z, log_pz = pair.prior.draw(2000)
    samples = log_pz - AggregatePosterior({"z": laplace}).log_prob(z)
    assert_mean(samples, by_quadrature(by_hand_log_pz, laplace))


@pytest.mark.parametrize("num_samples", [0, -3])
def test_arguments_are_checked(num_samples: int) -> None:
    with pytest.raises(
        ValueError, match=f"num_samples: expected a positive whole number, got {num_samples}"
    ):
        InclusiveKL(num_samples)
