"""What every objective must be: Pyro's own ELBO at neutral weights, and the sum of its terms."""

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor
from torch.distributions import kl_divergence

from pyro_decomp.elbo import DIPELBO, AggregateELBO, BetaELBO, TermsELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.traces import TracePair
from tests.elbo.objectives import OBJECTIVES, Objective
from tests.example_programs import (
    PROGRAMS,
    B,
    N,
    Programs,
    functions,
    hierarchy,
    mixture_prior,
    vae,
)
from tests.statistics import assert_mean

# Pyro's TraceMeanField_ELBO is wrong for these: it does not look at the guide's order, and leaves
# out the log_density of a Delta.
NOT_MEAN_FIELD = {"two sites, guide in reverse order", "an auxiliary site"}
ENCODERS_AND_PRIORS = (
    "VAE",
    "VAE, mixture prior",
    "VAE, learned prior",
    "VAE, Laplace guide",
    "VAE, Laplace guide, mixture prior",
)
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture(params=OBJECTIVES.values(), ids=OBJECTIVES)
def objective(request: pytest.FixtureRequest) -> Objective:
    return request.param


def each(select: Callable[[Objective], Iterable[str]]) -> pytest.MarkDecorator:
    """Every objective with those of its programs that are selected."""
    return pytest.mark.parametrize(
        ("objective", "name"),
        [
            pytest.param(row, name, id=f"{row_name}-{name}")
            for row_name, row in OBJECTIVES.items()
            for name in PROGRAMS
            if name in select(row)
        ],
    )


def neutral(row: Objective) -> Iterable[str]:
    return row.programs if row.neutral is not None else ()


def scored(row: Objective) -> Iterable[str]:
    return set(row.programs) - row.refused.keys()


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
    with poutine.trace(param_only=True):  # as SVI does
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


@pytest.mark.full(but=["*-VAE", "BetaELBO-*"])
@each(neutral)
def test_neutral_weights_equal_trace_elbo(objective: Objective, name: str) -> None:
    elbo = objective.plain(num_particles=3, analytic_kl=False)
    assert_same(elbo, Trace_ELBO(num_particles=3), made(PROGRAMS[name]))
    assert set(elbo.kl_methods.values()) == {"Monte Carlo"}


@pytest.mark.full(but=["*-VAE"])
@each(lambda row: neutral(row) and set(row.programs) - NOT_MEAN_FIELD)
def test_neutral_weights_equal_trace_mean_field_elbo(objective: Objective, name: str) -> None:
    assert_same(objective.plain(), TraceMeanField_ELBO(), made(PROGRAMS[name]))


@pytest.mark.full(but=["VAE", "nested plates"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_svi_takes_the_steps_that_pyros_own_takes(name: str) -> None:
    def trained(elbo: Any) -> dict[str, Tensor]:
        programs = made(PROGRAMS[name])
        svi = SVI(programs.model, programs.guide, pyro.optim.Adam({"lr": 0.02}), loss=elbo)
        for _ in range(3):
            svi.step(programs.x)
        return {name: p.detach().clone() for name, p in programs.parameters().items()}

    start = {n: p.detach().clone() for n, p in made(PROGRAMS[name]).parameters().items()}
    ours = trained(BetaELBO(analytic_kl=False))
    for key, expected in trained(Trace_ELBO()).items():
        torch.testing.assert_close(ours[key], expected, **CLOSE)
        assert not torch.equal(ours[key], start[key])


@pytest.mark.full(but=["BetaELBO-PyroModules", "FactorELBO-VAE, learned prior"])
@pytest.mark.parametrize("name", ["VAE, learned prior", "PyroModules"])
def test_the_module_trains_as_svi_does(objective: Objective, name: str) -> None:
    elbo, programs = objective(), made(PROGRAMS[name])
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
    assert set(module.parameters()) == set(programs.parameters().values())


@pytest.mark.full(but=["*-VAE, mixture prior", "DIPELBO I-two sites"])
@each(scored)
def test_the_objective_is_the_weighted_sum_of_what_is_logged(
    objective: Objective, name: str
) -> None:
    elbo, programs = objective(num_particles=2), made(PROGRAMS[name])
    with torch.no_grad():
        estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
    terms = {term: float(value) for term, value in estimate.terms.items()}
    weights = elbo.weights()
    assert terms.keys() <= weights.keys()
    total = sum(float(weights[term]) * value for term, value in terms.items())
    assert float(estimate.objective) == pytest.approx(total, rel=1e-12)
    size = B if name == "VAE, full batch" else N
    assert estimate.num_data == size
    weights_of_batch = 0.3 * float(torch.linspace(0.5, 2, B).double().sum())
    of_batch = {"user's scale": weights_of_batch, "user's mask": B - 2}.get(name, B)
    assert float(estimate.total) == pytest.approx(size / B * of_batch, rel=1e-12)
    assert float(estimate.loss) == pytest.approx(-size / B * of_batch * total, rel=1e-12)
    plain = terms["log_likelihood"] - terms["kl"] - terms.get("global_kl", 0.0)
    assert float(estimate.elbo) == pytest.approx(plain, rel=1e-12)


@pytest.mark.full(but=["TotalCorrelationELBO-*", "AggregateELBO-*"])
@each(lambda row: row.refused)
def test_what_cannot_be_scored_is_refused_in_a_sentence(objective: Objective, name: str) -> None:
    programs = made(PROGRAMS[name])
    with pytest.raises(ModelError, match=objective.refused[name]) as refusal:
        objective().evaluate(programs.model, programs.guide, programs.x)
    assert "\n" not in str(refusal.value)


@pytest.mark.full(but=["AggregateELBO", "FactorELBO", "TotalCorrelationELBO", "BetaELBO"])
def test_the_three_losses_agree(objective: Objective) -> None:
    programs, elbo = made(objective.program), objective()
    module = elbo(programs.model, programs.guide)
    losses = []
    for loss in (elbo.loss, elbo.differentiable_loss, elbo.loss_and_grads):
        pyro.set_rng_seed(6)
        value = loss(programs.model, programs.guide, programs.x)
        losses.append(value.item() if isinstance(value, Tensor) else value)
    pyro.set_rng_seed(6)
    losses.append(module(programs.x).item())
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-12)


@pytest.mark.full(but=["AggregateELBO", "FactorELBO", "TotalCorrelationELBO", "BetaELBO"])
def test_every_argument_changes_the_loss(objective: Objective) -> None:
    arguments = inspect.signature(objective.build).parameters.keys()
    assert arguments == objective.others.keys()
    programs = made(objective.program)

    def loss_and_elbo(**settings: Any) -> tuple[float, float]:
        pyro.set_rng_seed(6)
        estimate = objective(**settings).evaluate(programs.model, programs.guide, programs.x)
        return estimate.loss.item(), estimate.elbo.item()

    base, elbo = loss_and_elbo()
    assert (base, elbo) == loss_and_elbo()
    for argument, value in objective.others.items():
        other, other_elbo = loss_and_elbo(**{argument: value})
        if argument in objective.of_auxiliaries:
            assert (other, other_elbo) == (base, elbo)
        elif argument in objective.only_logged:
            assert other == base
            assert other_elbo != pytest.approx(elbo, rel=1e-6), argument
        else:
            assert other != pytest.approx(base, rel=1e-6), argument


@pytest.mark.full(but=["AggregateELBO", "FactorELBO", "TotalCorrelationELBO", "BetaELBO"])
def test_weights_are_attributes_that_a_schedule_may_set(objective: Objective) -> None:
    programs, elbo = made(objective.program), objective()

    def loss(elbo: TermsELBO) -> float:
        pyro.set_rng_seed(6)
        return elbo.loss(programs.model, programs.guide, programs.x)

    for name in objective.weights:
        setattr(elbo, name, objective.others[name])
        other = objective(**{name: objective.others[name]})
        assert elbo.weights() == other.weights()
        assert loss(elbo) == loss(other)
        setattr(elbo, name, torch.tensor(objective.settings[name], dtype=torch.double))
    assert elbo.weights() == objective().weights()
    assert loss(elbo) == pytest.approx(loss(objective()), rel=1e-12)


@pytest.mark.full(but=["AggregateELBO", "FactorELBO", "TotalCorrelationELBO", "BetaELBO"])
def test_permuting_the_batch_and_its_noise_changes_nothing(objective: Objective) -> None:
    programs, elbo = made(objective.program), objective()
    draws = poutine.trace(programs.guide).get_trace(programs.x)
    results = []
    for order in (torch.arange(B), torch.tensor([2, 0, 4, 5, 3, 1])):  # none stays
        for name in draws.stochastic_nodes:
            draws.nodes[name]["value"] = draws.nodes[name]["value"][order]
        guide = poutine.replay(programs.guide, trace=draws)
        pyro.set_rng_seed(6)
        estimate = elbo.evaluate(programs.model, guide, programs.x[order])
        results.append({term: value.item() for term, value in estimate.terms.items()})
    assert results[0] == pytest.approx(results[1], rel=1e-12)


@pytest.mark.full(but=["*-VAE, learned prior"])
@each(lambda row: set(ENCODERS_AND_PRIORS) - row.refused.keys())
def test_every_parameter_gets_a_gradient(objective: Objective, name: str) -> None:
    programs = made(PROGRAMS[name])
    _, gradients = loss_and_gradients(objective(), programs)
    for parameter in programs.parameters():
        assert gradients[parameter].abs().sum() > 0, parameter


@pytest.mark.full(but=["AggregateELBO", "FactorELBO", "TotalCorrelationELBO", "BetaELBO"])
def test_only_the_terms_that_should_depend_on_the_size_of_the_data_set(
    objective: Objective,
) -> None:
    elbo, terms = objective(), []
    for size in (B, 1000):
        programs = made(partial(objective.program, size=size))
        pyro.set_rng_seed(6)
        estimate = elbo.evaluate(programs.model, programs.guide, programs.x)
        terms.append({name: value.item() for name, value in estimate.terms.items()})
        assert estimate.loss.item() == pytest.approx(-size * estimate.objective.item(), rel=1e-12)
    for name, value in terms[0].items():
        same = terms[1][name] == pytest.approx(value, rel=1e-12)
        assert same != (name in objective.of_num_data), name


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
def test_kl_methods_tells_which_was_used(name: str, methods: dict[str, str]) -> None:
    elbo, programs = BetaELBO(), made(PROGRAMS[name])
    elbo.evaluate(programs.model, programs.guide, programs.x)
    assert elbo.kl_methods == methods


def test_a_guide_in_reverse_order_is_unbiased_where_the_closed_form_is_not() -> None:
    programs = made(lambda: hierarchy("reverse"))
    copies = programs.x[:1].expand(20_000, -1)  # of one datum, each with its own draw

    def kl(elbo: TermsELBO) -> tuple[TracePair, Tensor]:
        pyro.set_rng_seed(6)
        (pair,) = elbo.trace_pairs(programs.model, programs.guide, copies)
        return pair, sum(pair.kl(name).detach() for name in pair.latents)

    pair, mixed = kl(BetaELBO())
    _, sampled = kl(BetaELBO(analytic_kl=False))
    assert_mean(mixed - sampled, 0.0)
    fns = [(pair.guide.nodes[name]["fn"], pair.model.nodes[name]["fn"]) for name in pair.latents]
    closed = sum(kl_divergence(q, p).detach() for q, p in fns)
    with pytest.raises(AssertionError, match="standard errors away"):
        assert_mean(closed - sampled, 0.0)


def test_the_dependence_of_guide_sites_costs_no_random_number() -> None:
    draws = []
    for _ in range(2):
        programs = made(lambda: hierarchy("mean-field"))
        elbo = BetaELBO()
        for _ in range(2):  # the guide is inspected in the first evaluation only
            pyro.set_rng_seed(6)
            elbo.evaluate(programs.model, programs.guide, programs.x)
            draws.append(torch.rand(1).item())
    assert len(set(draws)) == 1


def test_another_guide_is_checked_again() -> None:
    elbo = DIPELBO("I", lambda_od=1.0, lambda_d=1.0)
    good, structured = hierarchy("mean-field"), hierarchy("same")
    elbo.evaluate(good.model, good.guide, good.x)
    with pytest.raises(ModelError, match="'z1', 'z2' depend on one another"):
        elbo.evaluate(structured.model, structured.guide, structured.x)
    elbo.evaluate(good.model, good.guide, good.x)


def test_a_delta_guide_of_two_sites_is_no_dependence() -> None:
    plain = hierarchy("mean-field")

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            for name in ("z1", "z2"):
                pyro.sample(name, dist.Delta(x[:, :2], event_dim=1))

    elbo = BetaELBO()
    expected = Trace_ELBO().loss(plain.model, guide, plain.x)
    assert elbo.loss(plain.model, guide, plain.x) == pytest.approx(expected, rel=1e-10)


@pytest.mark.full(but=["AggregateELBO", "FactorELBO", "TotalCorrelationELBO", "BetaELBO"])
def test_one_datum_and_a_larger_batch_than_data(objective: Objective) -> None:
    elbo, programs = objective(), made(partial(objective.program, size=1))
    evaluate = partial(elbo.evaluate, programs.model, programs.guide)
    estimates = [evaluate(programs.x)]
    if objective.alone is None:
        estimates.append(evaluate(programs.x[:1]))
    else:
        with pytest.raises(ModelError, match=objective.alone):
            evaluate(programs.x[:1])
    for estimate in estimates:
        assert estimate.loss.item() == pytest.approx(-estimate.objective.item())


def test_arguments_are_checked(objective: Objective) -> None:
    with pytest.raises(ValueError, match="num_particles: expected a positive whole number, got 0"):
        objective(num_particles=0)


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
