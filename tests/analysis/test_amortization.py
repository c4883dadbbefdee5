"""The gaps of a guide, on models whose posterior and log p(x) are closed forms."""

from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.ops.stats import effective_sample_size
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_decomp.analysis.amortization import AmortizationGap, amortization_gap
from pyro_decomp.distributions import VonMisesFisher
from pyro_decomp.errors import ModelError
from pyro_decomp.training.run import Run
from tests.example_programs import K, N, Programs, hierarchy, nested_plates
from tests.runs import run_of
from tests.statistics import STANDARD_ERRORS

WEIGHT = torch.tensor([[1.0, 0.5], [0.0, 1.0], [0.5, -1.0]]).double()
NOISE, GAIN, SPREAD = 0.7, 0.3, 0.4
QUICK = {"num_samples": 6, "warmup_steps": 6}
PRECISION = torch.eye(K).double() + WEIGHT.T @ WEIGHT / NOISE**2


def linear(size: int = N) -> Programs:
    """z ~ N(0, I), x ~ N(W z, 0.7^2 I), and q(z|x) = N(0.3 W' x, 0.4^2 I)."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", size, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(K).double(), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ WEIGHT.T, NOISE).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        gain = pyro.param("gain", torch.tensor(GAIN).double())
        with pyro.plate("data", size, subsample=x):
            pyro.sample("z", dist.Normal(gain * x @ WEIGHT, SPREAD).to_event(1))

    return Programs(model, guide, torch.zeros(0))


def exact(x: Tensor) -> tuple[Tensor, dist.MultivariateNormal]:
    """Log p(x) and p(z|x)."""
    marginal = WEIGHT @ WEIGHT.T + NOISE**2 * torch.eye(3).double()
    log_px = dist.MultivariateNormal(torch.zeros(3).double(), marginal).log_prob(x)
    loc = x @ WEIGHT @ PRECISION.inverse() / NOISE**2
    return log_px, dist.MultivariateNormal(loc, precision_matrix=PRECISION)


def assert_estimate(found: AmortizationGap, name: str, expected: Tensor) -> None:
    error = STANDARD_ERRORS * found.standard_errors[name] + 1e-9
    distance = (getattr(found, name) - expected).abs()
    assert (distance <= error).all(), f"{name}: {distance} with {error} allowed"


@pytest.fixture
def run() -> Run:
    return run_of(linear(), torch.randn(N, 3, generator=torch.Generator().manual_seed(2)).double())


@pytest.mark.full
def test_every_bound_is_its_closed_form(run: Run) -> None:
    x = run.data.x[:3]
    log_px, posterior = exact(x)
    guide = dist.MultivariateNormal(GAIN * x @ WEIGHT, SPREAD**2 * torch.eye(K).double())
    best = dist.MultivariateNormal(posterior.loc, (1 / PRECISION.diagonal()).diag())
    found = amortization_gap(run, x, num_samples=80, warmup_steps=60)
    assert found.covariance == "diagonal"
    assert_estimate(found, "log_px", log_px)
    assert_estimate(found, "elbo", log_px - kl_divergence(guide, posterior))
    assert_estimate(found, "elbo_fitted", log_px - kl_divergence(best, posterior))
    assert all((error < 0.1).all() for error in found.standard_errors.values())
    torch.testing.assert_close(
        found.approximation_gap + found.amortization_gap, found.log_px - found.elbo
    )
    draws = found.draws["z"]
    assert draws.shape == (1, 80, 3, K)
    centred = draws - posterior.loc
    for value, expected in (
        (centred, torch.zeros(K)),
        (centred[..., 0] * centred[..., 1], PRECISION.inverse()[0, 1]),
        (centred**2, PRECISION.inverse().diagonal()),
    ):
        error = value.std((0, 1)) / effective_sample_size(value).sqrt()
        assert ((value.mean((0, 1)) - expected).abs() < STANDARD_ERRORS * error).all()
    assert (found.r_hat < 1.1).all()
    assert found.num_divergences == 0
    assert (found.effective_samples > 300).all()


@pytest.mark.full
def test_a_full_gaussian_leaves_no_approximation_gap(run: Run) -> None:
    x = run.data.x[:3]
    log_px, _ = exact(x)
    found = amortization_gap(run, x, covariance="full", num_chains=2, **QUICK)
    assert found.covariance == "full"
    assert found.draws["z"].shape == (2, 6, 3, K)
    assert_estimate(found, "elbo_fitted", log_px)


@pytest.mark.full
def test_the_size_of_the_data_set_does_not_temper_the_posterior(run: Run) -> None:
    found = amortization_gap(run, run.data.x[:3], **QUICK)
    alone = amortization_gap(run_of(linear(3), run.data.x[:3]), run.data.x[:3], **QUICK)
    assert torch.equal(found.draws["z"], alone.draws["z"])
    torch.testing.assert_close(found.log_px, alone.log_px)
    torch.testing.assert_close(found.elbo, alone.elbo)


@pytest.mark.full
def test_a_seed_fixes_all_and_leaves_the_generators_and_networks_alone(run: Run) -> None:
    before = [p.detach().clone() for p in run.state.parameters.values()]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same = (amortization_gap(run, run.data.x[:2], **QUICK) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    for name in ("log_px", "elbo", "elbo_fitted"):
        assert torch.equal(getattr(one, name), getattr(same, name))
    other = amortization_gap(run, run.data.x[:2], seed=1, **QUICK)
    assert not torch.equal(other.draws["z"], one.draws["z"])
    for parameter, value in zip(run.state.parameters.values(), before, strict=True):
        assert torch.equal(parameter, value)
        assert parameter.grad is None


def test_a_positive_latent_is_fitted_by_its_logarithm() -> None:
    """x ~ N(log z, 1) with log z ~ N(0, 1), whose posterior is log-normal."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.LogNormal(torch.zeros(()).double(), 1.0))
            pyro.sample("x", dist.Normal(z.log(), 1.0), obs=x)

    def guide(x: Tensor) -> None:
        gain = pyro.param("gain", torch.tensor(0.2).double())
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.LogNormal(gain * x, 0.5**0.5))

    run = run_of(Programs(model, guide, torch.zeros(0)), torch.randn(N).double())
    x = run.data.x[:3]
    found = amortization_gap(run, x, **QUICK)
    log_px = dist.Normal(0.0, 2**0.5).log_prob(x)
    assert_estimate(found, "log_px", log_px)
    assert_estimate(found, "elbo_fitted", log_px)
    assert_estimate(found, "elbo", log_px - (0.3 * x) ** 2)  # KL of equal variances 1/2
    assert (found.draws["z"] > 0).all()


@pytest.mark.full
@pytest.mark.parametrize("is_in_guide", [True, False], ids=["in the guide", "in the model alone"])
def test_a_component_is_summed_out(is_in_guide: bool) -> None:
    """x is a mixture of Gaussians, with one component for each c."""
    locs, weights = torch.tensor([-1.5, 1.5]).double(), torch.tensor([0.3, 0.7]).double()

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            c = pyro.sample("c", dist.Categorical(weights))
            z = pyro.sample("z", dist.Normal(locs[c], 0.5))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        gain = pyro.param("gain", torch.tensor(0.9).double())
        with pyro.plate("data", N, subsample=x):
            if is_in_guide:
                pyro.sample("c", dist.Categorical(logits=torch.stack([-x, x], -1)))
            pyro.sample("z", dist.Normal(gain * x, 0.5))

    run = run_of(Programs(model, guide, torch.zeros(0)), torch.randn(N).double())
    x = run.data.x[:3]
    found = amortization_gap(run, x, num_samples=30, warmup_steps=20)
    parts = weights.log() + dist.Normal(locs, 1.25**0.5).log_prob(x[:, None])
    assert_estimate(found, "log_px", parts.logsumexp(-1))
    assert set(found.draws) == {"z"}
    slack = STANDARD_ERRORS * found.standard_errors["elbo_fitted"]
    assert (found.elbo_fitted < parts.logsumexp(-1) + slack).all()
    if not is_in_guide:
        slack = slack + STANDARD_ERRORS * found.standard_errors["elbo"]
        assert (found.amortization_gap > -slack).all()


def test_a_global_latent_has_the_guides_mean() -> None:
    """x ~ N(z + g, 1): given g, x - g has variance 2."""

    def model(x: Tensor) -> None:
        shift = pyro.sample("shift", dist.Normal(torch.zeros(()).double(), 1.0))
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(()).double(), 1.0))
            pyro.sample("x", dist.Normal(z + shift, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        loc = pyro.param("loc", torch.tensor(0.8).double())
        pyro.sample("shift", dist.Normal(loc, 0.3))
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(0.5 * x, 0.5**0.5))

    run = run_of(Programs(model, guide, torch.zeros(0)), torch.randn(N).double())
    x = run.data.x[:3]
    found = amortization_gap(run, x, **QUICK)
    log_px = dist.Normal(0.8, 2**0.5).log_prob(x)
    assert_estimate(found, "log_px", log_px)
    assert_estimate(found, "elbo_fitted", log_px)
    assert_estimate(found, "elbo", log_px - 0.4**2)
    assert set(found.draws) == {"z"}


@pytest.mark.full(but=["make1-diagonal-shapes1"])
@pytest.mark.parametrize(
    ("make", "covariance", "shapes"),
    [
        (partial(hierarchy, "same"), "full", {"z1": (K,), "z2": (K,)}),
        (partial(hierarchy, "mean-field"), "diagonal", {"z1": (K,), "z2": (K,)}),
        (nested_plates, "diagonal", {"part": (4,)}),
    ],
)
def test_the_guides_kind_is_found(make: Any, covariance: str, shapes: dict[str, Any]) -> None:
    run = run_of(make())
    x = run.data.x[:2]
    found = amortization_gap(run, x, num_importance_samples=200, **QUICK)
    assert found.covariance == covariance
    assert {name: value.shape[3:] for name, value in found.draws.items()} == shapes
    slack = found.standard_errors["log_px"] + found.standard_errors["elbo_fitted"]
    if covariance == "full":  # these models are linear
        assert (found.approximation_gap.abs() < STANDARD_ERRORS * slack).all()


def test_arguments_are_checked(run: Run) -> None:
    with pytest.raises(ValueError, match=r"num_samples: expected .* at least 4, got 3"):
        amortization_gap(run, run.data.x[:1], num_samples=3)
    with pytest.raises(ValueError, match=r"covariance: expected one of .*, got 'both'"):
        amortization_gap(run, run.data.x[:1], covariance="both")  # type: ignore[arg-type]


def test_a_direction_is_refused() -> None:
    loc = torch.nn.functional.normalize(torch.randn(K).double(), dim=-1)

    def program(x: Tensor, *, is_model: bool) -> None:
        concentration = pyro.param("concentration", torch.tensor(3.0).double())
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", VonMisesFisher(loc, concentration))
            if is_model:
                pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    programs = Programs(partial(program, is_model=True), partial(program, is_model=False), loc)
    run = run_of(programs, torch.randn(N).double())
    with pytest.raises(ModelError, match=r"site 'z' has the support .*no map from unconstrained"):
        amortization_gap(run, run.data.x[:1])
