"""An objective of Pyro in the trainer is that objective: its value, its gradients, its draws."""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import infer, poutine
from torch import Tensor, nn

from pyro_decomp import BetaELBO, Execution, Experiment, load, train
from pyro_decomp.elbo import PyroELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.schedules import Linear
from pyro_decomp.seeds import random_state, set_random_state
from tests.enumerated import guide_with_component, mixture
from tests.example_programs import PROGRAMS, B, D, K, N, Programs, functions


class Own(infer.Trace_ELBO):
    """A user's: the plain estimator, written out with one call of ``backward`` a particle."""

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        loss = 0.0
        for model_trace, guide_trace in self._get_traces(model, guide, args, kwargs):
            particle = guide_trace.log_prob_sum() - model_trace.log_prob_sum()
            (particle / self.num_particles).backward()
            loss += particle.item() / self.num_particles
        return loss


class TracedApart(Own):
    """A user's that traces the programs without Pyro's method."""

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> float:
        drawn = poutine.trace(guide).get_trace(*args, **kwargs)
        scored = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(*args, **kwargs)
        loss = drawn.log_prob_sum() - scored.log_prob_sum()
        loss.backward(torch.ones(()).double())
        return float(loss.item())


OBJECTIVES: dict[str, Callable[[], infer.ELBO]] = {
    "Trace_ELBO": infer.Trace_ELBO,
    "Trace_ELBO, 3 particles": partial(infer.Trace_ELBO, num_particles=3),
    "Trace_ELBO, vectorised": partial(infer.Trace_ELBO, num_particles=3, vectorize_particles=True),
    "TraceMeanField_ELBO": partial(infer.TraceMeanField_ELBO, num_particles=2),
    "TraceGraph_ELBO": infer.TraceGraph_ELBO,
    "TraceEnum_ELBO": partial(infer.TraceEnum_ELBO, strict_enumeration_warning=False),
    "TraceTMC_ELBO": partial(infer.TraceTMC_ELBO, strict_enumeration_warning=False),
    "RenyiELBO": partial(infer.RenyiELBO, num_particles=3),
    "RenyiELBO, vectorised": partial(
        infer.RenyiELBO, alpha=0.5, num_particles=3, vectorize_particles=True
    ),
    "a user's": partial(Own, num_particles=2),
    "a user's, traced apart": TracedApart,
}
MADE = ("VAE", "functions with pyro.param", "PyroModules", "nested plates", "a global latent")
# Programs that do not broadcast over particles, and what Pyro's own closed forms cannot do.
NOT_OF_PYRO = {
    *((program, name) for program in MADE[2:] for name in OBJECTIVES if "vectorised" in name),
    ("nested plates", "TraceMeanField_ELBO"),
}
AVERAGED = {"baseline": {"use_decaying_avg_baseline": True}}
CAPTURED = (
    "Trace_ELBO",
    "TraceMeanField_ELBO",
    "TraceGraph_ELBO",
    "RenyiELBO",
    "RenyiELBO, vectorised",
)


def agrees(objective: Callable[[], infer.ELBO], made: Programs, factor: float = 1.0) -> None:
    """Two steps in a row are Pyro's two, to the state of the random generator.

    Args:
        objective: Makes it.
        made: The programs.
        factor: Of Pyro's loss, whose densities are to this power less.
    """
    parameters = made.parameters().values()
    ours, pyros = PyroELBO(objective()), objective()
    powers = poutine.scale(scale=1 / factor)
    for step in range(2):
        began, each = random_state(), []
        for is_ours in (False, True):
            set_random_state(began)
            for parameter in parameters:
                parameter.grad = None
            if is_ours:
                estimate = ours.evaluate(made.model, made.guide, made.x)
                (estimate.loss / factor).backward()
                loss = estimate.loss.item() / factor
            else:
                loss = pyros.loss_and_grads(powers(made.model), powers(made.guide), made.x)
                after = random_state()
            each.append((loss, [p.grad for p in parameters]))
        torch.testing.assert_close(each[1], each[0], rtol=1e-12, atol=1e-12)
        set_random_state(after)
        assert step or estimate.elbo.isfinite()


@pytest.mark.full(but=["VAE-RenyiELBO", "VAE-TraceEnum_ELBO", "VAE-a user's"])
@pytest.mark.parametrize(
    ("program", "name"),
    [pair for pair in product(MADE, OBJECTIVES) if pair not in NOT_OF_PYRO],
)
def test_value_and_gradients_are_pyros(program: str, name: str) -> None:
    has_power = ("Renyi" in name or "TMC" in name) and program not in ("PyroModules", MADE[-1])
    agrees(OBJECTIVES[name], PROGRAMS[program](), N / B if has_power else 1.0)


def test_a_step_draws_what_pyros_does() -> None:
    made = functions()
    states = []
    for objective in (infer.Trace_ELBO(), PyroELBO(infer.Trace_ELBO())):
        pyro.set_rng_seed(1)
        for _ in range(2):
            objective.loss_and_grads(made.model, made.guide, made.x)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_sites_are_enumerated_as_the_user_says() -> None:
    made = mixture()
    marked = Programs(infer.config_enumerate(made.model, "parallel"), made.guide, made.x)
    agrees(partial(infer.TraceEnum_ELBO, max_plate_nesting=1), marked)
    agrees(infer.TraceEnum_ELBO, marked)


def test_a_discrete_site_of_the_guide_is_drawn_where_pyro_draws_it() -> None:
    made = mixture()
    drawn = Programs(made.model, guide_with_component, made.x)
    agrees(infer.TraceGraph_ELBO, drawn)
    agrees(infer.Trace_ELBO, drawn)


@pytest.mark.parametrize("num_particles", [2, 3])
def test_terms_are_the_plain_elbos_at_the_same_draws(num_particles: int) -> None:
    made = PROGRAMS["VAE"]()
    ours = PyroELBO(infer.RenyiELBO(num_particles=num_particles))
    plain = BetaELBO(num_particles=num_particles)
    ours.evaluate(made.model, made.guide, made.x)
    plain.evaluate(made.model, made.guide, made.x)
    began = random_state()
    found = ours.evaluate(made.model, made.guide, made.x)
    set_random_state(began)
    wanted = plain.evaluate(made.model, made.guide, made.x)
    assert found.objective != found.elbo
    torch.testing.assert_close((found.elbo, found.terms), (wanted.elbo, wanted.terms))
    assert not found.elbo.requires_grad


def test_a_baseline_that_no_checkpoint_would_have_is_refused() -> None:
    made = mixture()

    def guide(x: Tensor) -> None:
        with poutine.infer_config(config_fn=lambda site: AVERAGED if site["name"] == "c" else {}):
            guide_with_component(x)

    with pytest.raises(ModelError, match=r"^site 'c': expected nn_baseline or baseline_value, got"):
        PyroELBO(infer.TraceGraph_ELBO()).evaluate(made.model, guide, made.x)


def test_networks_that_pyro_is_not_told_of_are_trained() -> None:
    made = functions(use=lambda name, network: None)
    networks = [c.cell_contents for c in made.model.__closure__ or ()]  # type: ignore[attr-defined]
    decoder = next(each for each in networks if isinstance(each, nn.Module))
    for objective in (infer.RenyiELBO(num_particles=2), infer.Trace_ELBO(), Own()):
        decoder.zero_grad()
        PyroELBO(objective).loss_and_grads(made.model, made.guide, made.x)
        assert all(p.grad is not None and p.grad.any() for p in decoder.parameters())


class Halved(infer.Trace_ELBO):
    """Has a loss that Pyro's ``loss_and_grads`` does not call."""

    def differentiable_loss(self, *args: Any, **kwargs: Any) -> Any:
        return super().differentiable_loss(*args, **kwargs) / 2


class Lossless(infer.ELBO):
    """Has no gradients."""

    def _get_trace(self, *args: Any) -> Any:
        raise NotImplementedError


class Calling(infer.Trace_ELBO):
    """Calls its own loss, which a subclass may replace."""

    def loss_and_grads(self, *args: Any, **kwargs: Any) -> float:
        loss = self.differentiable_loss(*args, **kwargs)
        loss.backward()
        return float(loss.item())


class Called(Calling, Halved):
    """Halves the loss that is called."""


class HalvedTMC(infer.TraceTMC_ELBO):
    """Pyro's own calls it."""

    def differentiable_loss(self, *args: Any, **kwargs: Any) -> Any:
        return super().differentiable_loss(*args, **kwargs) / 2


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (infer.JitTrace_ELBO, r"elbo: expected Trace_ELBO\(\), whose steps are captured"),
        (infer.JitTraceMeanField_ELBO, r"elbo: expected TraceMeanField_ELBO\(\), whose steps"),
        (infer.ReweightedWakeSleep, "expected an objective whose loss is a number"),
        (infer.TraceTailAdaptive_ELBO, "expected an objective whose loss is a number"),
        (Halved, "elbo: expected a class with a loss_and_grads of its own"),
        (Lossless, "elbo: expected a class with a loss_and_grads of its own"),
        (dict, r"objective: expected an objective of Pyro such as Trace_ELBO\(\), got {}"),
    ],
)
def test_what_has_no_one_loss_is_refused(objective: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PyroELBO(objective())


def test_a_loss_that_is_called_is_taken() -> None:
    made = PROGRAMS["VAE"]()
    values = []
    for objective in (infer.Trace_ELBO(), Called()):
        torch.manual_seed(0)
        values.append(PyroELBO(objective).loss(made.model, made.guide, made.x))
    assert values[1] == pytest.approx(values[0] / 2, rel=1e-12)
    PyroELBO(HalvedTMC())


class Pair(Own):
    """Gives two losses."""

    def loss_and_grads(self, *args: Any, **kwargs: Any) -> Any:
        return super().loss_and_grads(*args, **kwargs), 0.0


class Differentiated(Own):
    """Never calls ``backward``."""

    def loss_and_grads(self, *args: Any, **kwargs: Any) -> float:
        loss = self.differentiable_loss(*args, **kwargs)
        torch.autograd.backward(loss)
        return float(loss.detach())


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Pair(), "gives 2 losses: expected an objective with one"),
        (Differentiated(), "has called backward on nothing that depends on parameters"),
    ],
)
def test_an_objective_that_cannot_be_followed_is_refused(
    objective: infer.ELBO, message: str
) -> None:
    made = PROGRAMS["VAE"]()
    with pytest.raises(ModelError, match=message):
        PyroELBO(objective).evaluate(made.model, made.guide, made.x)


def simple(objective: infer.ELBO, **settings: Any) -> Experiment:
    torch.manual_seed(0)
    made = PROGRAMS["VAE"]()
    x = torch.randn(N, D, dtype=torch.double)
    return Experiment(made.model, made.guide, x, objective, epochs=4, batch_size=5, **settings)


def with_statistics(objective: infer.ELBO) -> Experiment:
    """Networks that Pyro is not told of, one with running statistics."""
    torch.manual_seed(0)
    norm, encoder, decoder = nn.BatchNorm1d(D).double(), nn.Linear(D, K).double(), nn.Linear(K, D)
    decoder = decoder.double()
    unit = torch.ones((), dtype=torch.double)

    def model(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(K).double(), unit).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z), unit).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", N, subsample=x):
            pyro.sample("z", dist.Normal(encoder(norm(x)), 0.5 * unit).to_event(1))

    x = torch.randn(N, D, dtype=torch.double)
    return Experiment(model, guide, x, objective, epochs=1, batch_size=5)


def numbers(experiment: Experiment, folder: Any, steps: str) -> dict[str, Any]:
    run = train(experiment, folder, execution=Execution(steps=steps), force=True)
    assert run.config["execution"]["steps"] == steps
    found = {name: p.detach().clone() for name, p in run.state.parameters.items()}
    return found | {"history": run.history}


@pytest.mark.full
@pytest.mark.parametrize("objective", [Own(num_particles=2), TracedApart()])
def test_buffers_are_updated_by_its_own_runs_alone(tmp_path: Any, objective: infer.ELBO) -> None:
    run = train(with_statistics(objective), tmp_path, execution=Execution(steps="eager"))
    (norm,) = (each for each in run.state.modules if isinstance(each, nn.BatchNorm1d))
    assert norm.num_batches_tracked == run.step * objective.num_particles


@pytest.mark.full
@pytest.mark.parametrize("name", CAPTURED)
def test_captured_steps_have_the_same_bits(tmp_path: Any, name: str) -> None:
    eager, captured = (
        numbers(simple(OBJECTIVES[name]()), tmp_path, steps) for steps in ("eager", "captured")
    )
    for key, value in eager.items():
        torch.testing.assert_close(captured[key], value, rtol=0, atol=0, equal_nan=True)
    fused = numbers(simple(OBJECTIVES[name]()), tmp_path, "fused")
    for key, value in eager.items():
        torch.testing.assert_close(fused[key], value, equal_nan=True)


@pytest.mark.full
def test_its_own_numbers_are_scheduled_by_name(tmp_path: Any) -> None:
    schedules = {"objective.alpha": Linear(0.0, 0.9, until=0.5)}
    build = partial(simple, infer.RenyiELBO(num_particles=3), schedules=schedules)
    eager, captured = (numbers(build(), tmp_path, steps) for steps in ("eager", "captured"))
    assert eager["history"]["objective.alpha"][-1] == 0.9
    for key, value in eager.items():
        torch.testing.assert_close(captured[key], value, equal_nan=True)


@pytest.mark.full
def test_a_run_of_it_is_loaded_and_evaluated(tmp_path: Any) -> None:
    run = train(simple(infer.RenyiELBO(num_particles=2)), tmp_path)
    loaded = load(tmp_path, experiment=simple(infer.RenyiELBO(num_particles=2)))
    assert isinstance(loaded.experiment.elbo, PyroELBO)
    assert loaded.evaluate(only=["elbo"]) == run.evaluate(only=["elbo"])
    assert len({*run.history["objective"]} & {*run.history["elbo"]}) == 0
