"""What every objective must be: Pyro's own ELBO at neutral weights, and the sum of its terms."""

import inspect
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_decomp.elbo import AggregateELBO, TermsELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.traces import TracePair
from tests.elbo.objectives import OBJECTIVES, Objective
from tests.programs import PROGRAMS, B, N, Programs, functions, hierarchy, mixture_prior, vae
from tests.statistics import assert_mean

# Pyro's TraceMeanField_ELBO is wrong for these: it does not look at the guide's order, and leaves
# out the log_density of a Delta.
NOT_MEAN_FIELD = {"two sites, guide in reverse order", "an auxiliary site"}
# The guide's sites depend on one another, which terms of the aggregate posterior refuse.
NO_AGGREGATE = {
    "two sites, guide in the model's order": "'z2' depends on 'z1'",
    "two sites, guide in reverse order": "'z1' depends on 'z2'",
    "an auxiliary site": "'z' depends on 'u'",
}
CLOSE = {"rtol": 1e-10, "atol": 1e-12}

all_programs = pytest.mark.parametrize("name", PROGRAMS)


@pytest.fixture(params=OBJECTIVES.values(), ids=OBJECTIVES)
def objective(request: pytest.FixtureRequest) -> Objective:
    return request.param


def made(build: Callable[[], Programs]) -> Programs:
    """The same programs every time, with no memory of earlier ones."""
    pyro.clear_param_store()
    pyro.set_rng_seed(3)
    programs = build()
    programs.parameters()
    return programs


def loss_and_gradients(elbo: Any, programs: Programs) -> tuple[float, dict[str, Tensor]]:
    parameters = programs.parameters()
    for parameter in parameters.values():
        parameter.grad = None
    pyro.set_rng_seed(4)
    with pyro.poutine.trace(param_only=True):  # as SVI does
        loss = elbo.loss_and_grads(programs.model, programs.guide, programs.x)
    return loss, {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}


def assert_same(elbo: Any, reference: Any, programs: Programs) -> None:
    loss, gradients = loss_and_gradients(elbo, programs)
    expected, expected_gradients = loss_and_gradients(reference, programs)
    assert loss == pytest.approx(expected, rel=1e-10)
    assert gradients.keys() == expected_gradients.keys() != set()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected_gradients[name], **CLOSE)
    pyro.set_rng_seed(5)
    loss = elbo.loss(programs.model, programs.guide, programs.x)
    pyro.set_rng_seed(5)
    expected = reference.loss(programs.model, programs.guide, programs.x)
    assert loss == pytest.approx(float(expected), rel=1e-10)


@all_programs
@pytest.mark.parametrize("num_particles", [1, 3])
def test_neutral_weights_equal_trace_elbo(
    objective: Objective, name: str, num_particles: int
) -> None:
    elbo = objective.build(**objective.neutral, num_particles=num_particles, analytic_kl=False)
    assert_same(elbo, Trace_ELBO(num_particles=num_particles), made(PROGRAMS[name]))
    assert set(elbo.kl_methods.values()) == {"Monte Carlo"}


@pytest.mark.parametrize("name", PROGRAMS.keys() - NOT_MEAN_FIELD)
@pytest.mark.parametrize("num_particles", [1, 3])
def test_neutral_weights_equal_trace_mean_field_elbo(
    objective: Objective, name: str, num_particles: int
) -> None:
    elbo = objective.build(**objective.neutral, num_particles=num_particles)
    assert_same(elbo, TraceMeanField_ELBO(num_particles=num_particles), made(PROGRAMS[name]))


@all_programs
def test_svi_takes_the_steps_that_pyros_own_takes(objective: Objective, name: str) -> None:
    def trained(elbo: Any) -> dict[str, Tensor]:
        programs = made(PROGRAMS[name])
        svi = SVI(programs.model, programs.guide, pyro.optim.Adam({"lr": 0.02}), loss=elbo)
        for _ in range(3):
            svi.step(programs.x)
        return {name: p.detach().clone() for name, p in programs.parameters().items()}

    start = {n: p.detach().clone() for n, p in made(PROGRAMS[name]).parameters().items()}
    ours = trained(objective.build(**objective.neutral, analytic_kl=False))
    for key, expected in trained(Trace_ELBO()).items():
        torch.testing.assert_close(ours[key], expected, **CLOSE)
        assert not torch.equal(ours[key], start[key])


@pytest.mark.parametrize("name", ["VAE", "VAE, learned prior", "PyroModules"])
def test_the_module_trains_as_svi_does(objective: Objective, name: str) -> None:
    elbo = objective.build(**objective.settings)
    programs = made(PROGRAMS[name])
    svi = SVI(programs.model, programs.guide, pyro.optim.Adam({"lr": 0.02}), loss=elbo)
    expected_losses = [svi.step(programs.x) for _ in range(3)]
    expected = {name: p.detach().clone() for name, p in programs.parameters().items()}

    programs = made(PROGRAMS[name])
    module = elbo(programs.model, programs.guide)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = module(programs.x)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(expected_losses, rel=1e-10)
    for key, parameter in programs.parameters().items():
        torch.testing.assert_close(parameter, expected[key], **CLOSE)


@pytest.mark.parametrize("name", PROGRAMS.keys() - set(NO_AGGREGATE))
def test_the_objective_is_the_weighted_sum_of_what_is_logged(
    objective: Objective, name: str
) -> None:
    elbo, programs = objective.build(**objective.settings, num_particles=2), made(PROGRAMS[name])
    with torch.no_grad():
        estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
    terms = {term: float(value) for term, value in estimate.terms.items()}
    weights = elbo.weights()
    assert terms.keys() <= weights.keys()
    total = sum(float(weights[term]) * value for term, value in terms.items())
    assert float(estimate.objective) == pytest.approx(total, rel=1e-12)
    size = B if name == "VAE, full batch" else N
    assert estimate.num_data == size
    assert float(estimate.loss) == pytest.approx(-size * total, rel=1e-12)
    plain = terms["log_likelihood"] - terms["kl"] - terms.get("global_kl", 0.0)
    assert float(estimate.elbo) == pytest.approx(plain, rel=1e-12)


@pytest.mark.parametrize(("name", "message"), NO_AGGREGATE.items())
def test_latents_that_depend_on_one_another_have_no_product_over_pairs(
    objective: Objective, name: str, message: str
) -> None:
    elbo, programs = objective.build(**objective.settings), made(PROGRAMS[name])
    with pytest.raises(
        ModelError, match=f"the guide's site {message}: .*make the guide mean-field"
    ):
        elbo.evaluate(programs.model, programs.guide, programs.x)


def test_the_three_losses_agree(objective: Objective) -> None:
    programs, elbo = made(vae), objective.build(**objective.settings)
    module = elbo(programs.model, programs.guide)
    losses = []
    for loss in (elbo.loss, elbo.differentiable_loss, elbo.loss_and_grads):
        pyro.set_rng_seed(6)
        value = loss(programs.model, programs.guide, programs.x)
        losses.append(value.item() if isinstance(value, Tensor) else value)
    pyro.set_rng_seed(6)
    losses.append(module(programs.x).item())
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-12)


def test_every_argument_changes_the_loss(objective: Objective) -> None:
    arguments = inspect.signature(objective.build).parameters.keys()
    assert arguments == objective.others.keys()
    programs = made(vae)

    def loss(**settings: Any) -> float:
        pyro.set_rng_seed(6)
        elbo = objective.build(**{**objective.settings, **settings})
        return elbo.loss(programs.model, programs.guide, programs.x)

    base = loss()
    assert base == loss()
    for argument, value in objective.others.items():
        assert loss(**{argument: value}) != pytest.approx(base, rel=1e-6), argument


def test_weights_are_attributes_that_a_schedule_may_set(objective: Objective) -> None:
    programs, elbo = made(vae), objective.build(**objective.settings)
    for name in objective.neutral:
        setattr(elbo, name, objective.others[name])
        other = objective.build(**{**objective.settings, name: objective.others[name]})
        assert elbo.weights() == other.weights()
        setattr(elbo, name, torch.tensor(objective.settings[name], dtype=torch.double))
    assert elbo.weights() == objective.build(**objective.settings).weights()
    pyro.set_rng_seed(6)
    tensors = elbo.loss(programs.model, programs.guide, programs.x)
    pyro.set_rng_seed(6)
    numbers = objective.build(**objective.settings)
    assert tensors == pytest.approx(numbers.loss(programs.model, programs.guide, programs.x))


def test_permuting_the_batch_changes_nothing_but_the_noise(objective: Objective) -> None:
    programs, elbo = made(vae), objective.build(**objective.settings)
    results = []
    for order in (torch.arange(B), torch.randperm(B)):
        pyro.set_rng_seed(6)
        estimate = elbo.evaluate(programs.model, programs.guide, programs.x[order])
        results.append([estimate.terms[term].item() for term in objective.symmetric])
    assert results[0] == pytest.approx(results[1], rel=1e-12)


@pytest.mark.parametrize(
    "name", ["VAE", "VAE, mixture prior", "VAE, learned prior", "VAE, Laplace guide, mixture prior"]
)
def test_every_parameter_gets_a_gradient(objective: Objective, name: str) -> None:
    programs = made(PROGRAMS[name])
    _, gradients = loss_and_gradients(objective.build(**objective.settings), programs)
    for parameter in programs.parameters():
        assert gradients[parameter].abs().sum() > 0, parameter


def test_terms_do_not_depend_on_the_size_of_the_data_set(objective: Objective) -> None:
    elbo, terms, losses = objective.build(**objective.settings), [], []
    for size in (B, 1000):
        programs = made(lambda size=size: vae(size=size))
        pyro.set_rng_seed(6)
        estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
        terms.append({name: value.item() for name, value in estimate.terms.items()})
        losses.append(estimate.loss.item())
    assert terms[0] == pytest.approx(terms[1], rel=1e-12)
    assert losses[1] == pytest.approx(losses[0] * 1000 / B, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("VAE", {"z": "analytic"}),
        ("VAE, Laplace guide", {"z": "analytic"}),
        ("VAE, mixture prior", {"z": "Monte Carlo"}),
        ("two sites, guide in the model's order", {"z1": "analytic", "z2": "analytic"}),
        ("two sites, guide in reverse order", {"z2": "Monte Carlo", "z1": "analytic"}),
        ("a global latent", {"noise": "analytic", "z": "analytic"}),
        ("a Delta guide", {"z": "Monte Carlo"}),
    ],
)
def test_kl_methods_tells_which_was_used(
    objective: Objective, name: str, methods: dict[str, str]
) -> None:
    elbo, programs = objective.build(**objective.neutral), made(PROGRAMS[name])
    elbo.evaluate(programs.model, programs.guide, programs.x)
    assert elbo.kl_methods == methods


def test_a_guide_in_reverse_order_is_unbiased_where_the_closed_form_is_not(
    objective: Objective,
) -> None:
    programs = made(lambda: hierarchy("reverse"))
    copies = programs.x[:1].expand(20_000, -1)  # of one datum, each with its own draw

    def kl(elbo: TermsELBO) -> tuple[TracePair, Tensor]:
        pyro.set_rng_seed(6)
        (pair,) = elbo.trace_pairs(programs.model, programs.guide, copies)
        return pair, sum(pair.kl(name).detach() for name in pair.latents)

    pair, mixed = kl(objective.build(**objective.neutral))
    _, sampled = kl(objective.build(**objective.neutral, analytic_kl=False))
    assert_mean(mixed - sampled, 0.0)
    fns = [(pair.guide.nodes[name]["fn"], pair.model.nodes[name]["fn"]) for name in pair.latents]
    closed = sum(kl_divergence(q, p).detach() for q, p in fns)
    with pytest.raises(AssertionError, match="standard errors away"):
        assert_mean(closed - sampled, 0.0)


def test_the_dependence_of_guide_sites_costs_no_random_number(objective: Objective) -> None:
    draws = []
    for _ in range(2):
        programs = made(lambda: hierarchy("mean-field"))
        elbo = objective.build(**objective.neutral)
        for _ in range(2):  # the guide is inspected in the first evaluation only
            pyro.set_rng_seed(6)
            elbo.evaluate(programs.model, programs.guide, programs.x)
            draws.append(torch.rand(1).item())
    assert len(set(draws)) == 1


def test_another_guide_is_checked_again(objective: Objective) -> None:
    elbo = objective.build(**objective.settings)
    good, structured = hierarchy("mean-field"), hierarchy("same")
    elbo.evaluate(good.model, good.guide, good.x)
    with pytest.raises(ModelError, match="the guide's site 'z2' depends on 'z1'"):
        elbo.evaluate(structured.model, structured.guide, structured.x)
    elbo.evaluate(good.model, good.guide, good.x)


def test_a_delta_guide_of_two_sites_is_no_dependence(objective: Objective) -> None:
    plain = hierarchy("mean-field")

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            for name in ("z1", "z2"):
                pyro.sample(name, dist.Delta(x[:, :2], event_dim=1))

    elbo = objective.build(**objective.neutral)
    expected = Trace_ELBO().loss(plain.model, guide, plain.x)
    assert elbo.loss(plain.model, guide, plain.x) == pytest.approx(expected, rel=1e-10)


def test_one_datum_and_a_larger_batch_than_data(objective: Objective) -> None:
    elbo, programs = objective.build(**objective.settings), made(lambda: vae(mixture_prior, size=1))
    for x in (programs.x[:1], programs.x):
        estimate = elbo.evaluate(programs.model, programs.guide, x)
        assert estimate.loss.item() == pytest.approx(-estimate.objective.item())


def test_arguments_are_checked(objective: Objective) -> None:
    with pytest.raises(ValueError, match="num_particles: expected at least 1, got 0"):
        objective.build(num_particles=0)


def test_a_term_of_ones_own_is_four_lines() -> None:
    class Entropic(TermsELBO):
        def weights(self) -> dict[str, float | Tensor]:
            return {"log_likelihood": 1.0, "kl": -1.0, "spread": 0.5}

        def terms(self, traces: Any) -> dict[str, Tensor]:
            return super().terms(traces) | {"spread": traces.guide.nodes["z"]["fn"].stddev.mean()}

    programs = made(functions)
    estimate = Entropic().evaluate(programs.model, programs.guide, programs.x)
    expected = estimate.elbo.item() + 0.5 * estimate.terms["spread"].item()
    assert estimate.objective.item() == pytest.approx(expected)


def test_a_term_without_a_weight_is_one_sentence() -> None:
    class Forgetful(AggregateELBO):
        def terms(self, traces: TracePair) -> dict[str, Tensor]:
            return super().terms(traces) | {"entropy": torch.zeros(())}

    programs = vae(mixture_prior)
    with pytest.raises(TypeError, match=r"Forgetful.weights\(\): expected a weight .* entropy"):
        Forgetful().loss(programs.model, programs.guide, programs.x)


def test_the_module_owns_networks_that_plain_functions_close_over() -> None:
    net = torch.nn.Linear(2, 2)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(net(z), 1.0).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), subsample=x):
            pyro.sample("z", dist.Normal(x, 1.0).to_event(1))

    assert set(AggregateELBO()(model, guide).parameters()) == set(net.parameters())
