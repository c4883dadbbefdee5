"""Guides whose density is not what a Normal's is."""

import math
from collections.abc import Callable
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from pyro_decomp import evaluate
from pyro_decomp.distributions import LpNested
from pyro_decomp.distributions.annealing import annealed
from pyro_decomp.divergences import ExclusiveKL, InclusiveKL
from pyro_decomp.elbo import AggregateELBO, BetaELBO, TermsELBO, TotalCorrelationELBO
from pyro_decomp.errors import ExperimentError, ModelError
from pyro_decomp.priors import IndependentSubspaces
from tests.cases.running import build, trained
from tests.not_yet import rows
from tests.refusals import result_or_refusal

NUM_DATA = 20

BATCHES = ["all data", "batches"]


@pytest.mark.parametrize("name", rows("AutoNormal", BATCHES, often=BATCHES))
def test_an_automatic_guide_with_its_plate_equals_pyro(name: str) -> None:
    experiment = build("autonormal", with_create_plates=True)
    batch = experiment.data[:] if name == "all data" else experiment.data[:50]
    experiment.guide(*batch)  # makes its parameters
    pyro.set_rng_seed(0)
    wanted = Trace_ELBO().loss(experiment.model, experiment.guide, *batch)
    pyro.set_rng_seed(0)
    found = BetaELBO(analytic_kl=False).loss(experiment.model, experiment.guide, *batch)
    assert found == pytest.approx(wanted, rel=1e-5)


AUTO = ["trains with its plate", "says how without"]


@pytest.mark.parametrize("name", rows("AutoNormal in batches", AUTO, often=AUTO))
def test_an_automatic_guide_in_batches(name: str, tmp_path: Path) -> None:
    if name == "trains with its plate":
        run = trained("autonormal", tmp_path / "run", with_create_plates=True)
        assert math.isfinite(run.history["elbo"][-1])
        return
    with pytest.raises((ModelError, ExperimentError), match="create_plates") as caught:
        trained("autonormal", tmp_path / "run")
    assert "\n" not in str(caught.value)


def test_a_straight_through_guide_equals_pyro() -> None:
    experiment = build("straight_through")
    pyro.set_rng_seed(0)
    wanted = Trace_ELBO().loss(experiment.model, experiment.guide, experiment.data.x) / 100
    pyro.set_rng_seed(0)
    elbo = BetaELBO(analytic_kl=False)
    found = elbo.loss(experiment.model, experiment.guide, experiment.data.x) / 100
    assert wanted == pytest.approx(14.47612, abs=1e-4)
    assert found == pytest.approx(wanted, rel=1e-5)


STRAIGHT = ["trained on a divergence", "evaluated"]


@pytest.mark.full
@pytest.mark.parametrize("name", rows("straight through", STRAIGHT, often=["evaluated"]))
def test_a_straight_through_guide_has_no_density_at_other_data(name: str, tmp_path: Path) -> None:
    if name == "evaluated":
        run = trained("straight_through", tmp_path / "run")
        with pytest.warns(UserWarning, match="left out"):
            found = evaluate(run)["train"]
        assert math.isfinite(found["elbo"])
        assert "density" in found["left_out"]["mutual_information"]
        return
    with pytest.raises((ModelError, ExperimentError), match=r"'c'.*density") as caught:
        trained("straight_through", tmp_path / "run", alpha=1.0)
    assert "\n" not in str(caught.value)


def data(width: int = 2) -> Tensor:
    return torch.randn(NUM_DATA, width, generator=torch.Generator().manual_seed(0))


def programs_of(
    encoding: Callable[[Tensor], dist.TorchDistribution],
) -> tuple[Callable[[Tensor], None], Callable[[Tensor], None]]:
    def model(x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(x.shape[-1]), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("z", encoding(x))

    return model, guide


ROOT = torch.tensor([[0.7, 0.0], [0.4, 1.2]])
COVARIANCES: dict[str, Callable[[Tensor], dist.TorchDistribution]] = {
    "factorised": lambda x: dist.Normal(x, 0.5).to_event(1),
    "full": lambda x: dist.MultivariateNormal(x, scale_tril=ROOT),
    "low rank": lambda x: dist.LowRankMultivariateNormal(
        x, torch.ones(len(x), 2, 1), 0.3 * torch.ones(len(x), 2)
    ),
}


@pytest.mark.parametrize("name", rows("closed-form KL", COVARIANCES, often=COVARIANCES))
def test_the_kl_of_a_normal_is_in_closed_form_whatever_its_covariance(name: str) -> None:
    x, elbo = data(), BetaELBO()
    found = elbo.evaluate(*programs_of(COVARIANCES[name]), x).terms["kl"]
    q = COVARIANCES[name](x)
    covariance = torch.diag_embed(q.variance) if name == "factorised" else q.covariance_matrix
    prior = MultivariateNormal(torch.zeros(2), torch.eye(2))
    torch.testing.assert_close(
        found, kl_divergence(MultivariateNormal(x, covariance), prior).mean()
    )
    assert elbo.kl_methods == {"z": "analytic"}


MOVING: dict[str, Callable[[], TermsELBO]] = {
    "beta": BetaELBO,
    "exclusive": lambda: AggregateELBO(1.0, 1.0, ExclusiveKL()),
    "total correlation": lambda: TotalCorrelationELBO(1.0, 2.0, 1.0),
    "inclusive": lambda: AggregateELBO(1.0, 1.0, InclusiveKL(num_samples=1000)),
}


@pytest.mark.parametrize("name", rows("moving support", MOVING, often=MOVING))
def test_a_guide_has_density_0_outside_its_support(name: str) -> None:
    model, guide = programs_of(lambda x: dist.Uniform(x - 0.5, x + 0.5).to_event(1))
    estimate, refusal = result_or_refusal(lambda: MOVING[name]().evaluate(model, guide, data(1)))
    if estimate is None:
        assert name == "inclusive", refusal
        assert "support" in refusal
        return
    if name == "inclusive":
        assert estimate.terms["divergence"] == math.inf
    else:
        assert math.isfinite(estimate.objective.item())


MIXTURES = {
    "of numbers": lambda: dist.Normal(torch.tensor([-1.0, 1.0]), 1.0),
    "of vectors": lambda: dist.Normal(torch.randn(2, 3), 1.0).to_event(1),
}


@pytest.mark.parametrize("name", rows("annealed mixture", MIXTURES, often=MIXTURES))
def test_an_annealed_mixture_is_sampled_in_any_shape(name: str) -> None:
    p = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), MIXTURES[name]())
    for shape in ((), (1000,), (2, 3)):
        assert annealed(p, 2.0).sample(shape).shape == (*shape, *p.event_shape)


GRADIENTS = ["of a Normal", "of an objective"]


@pytest.mark.parametrize("name", rows("Lp-nested gradient", GRADIENTS, often=GRADIENTS))
def test_a_group_that_is_exactly_zero_has_a_gradient(name: str) -> None:
    if name == "of a Normal":
        p = LpNested((2, 1), torch.tensor([2.0, 2.0]), torch.tensor(2.0), torch.ones(2))
        z = torch.tensor([0.0, 0.0, 0.5], requires_grad=True)
        (found,) = torch.autograd.grad(p.log_prob(z), z)
        torch.testing.assert_close(found, torch.tensor([0.0, 0.0, -1.0]))
        return
    encoder, decoder, prior = nn.Linear(4, 4), nn.Linear(4, 4), IndependentSubspaces((2, 2))
    nn.init.zeros_(encoder.weight)
    nn.init.zeros_(encoder.bias)

    def model(x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("x", dist.Normal(decoder(prior()), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", NUM_DATA, subsample=x):
            pyro.sample("z", dist.Delta(encoder(x)).to_event(1))

    BetaELBO().differentiable_loss(model, guide, data(4)).backward()
    assert encoder.weight.grad is not None
    assert encoder.weight.grad.isfinite().all()
