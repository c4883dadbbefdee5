import random
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_decomp import VAE, Experiment
from pyro_decomp.acceleration.capture import CaptureError, StepGraph, capture
from pyro_decomp.acceleration.capture.tracing import is_random
from pyro_decomp.divergences import InclusiveKL
from pyro_decomp.elbo import AggregateELBO, BetaELBO, TermsELBO
from pyro_decomp.elbo.numbers import objective_weights
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.priors import GaussianMixture
from pyro_decomp.seeds import random_state, seeded
from pyro_decomp.training.state import State, prepare, step_source
from tests.elbo.objectives import OBJECTIVES
from tests.example_programs import PROGRAMS, B, D, N, Programs, normal_prior, vae
from tests.priors.priors import IN, PRIORS

# Their handlers fit a batch of B, and 20 data leave a smaller one.
OF_ONE_BATCH = {"user's scale", "user's mask"}


def ready(programs: Programs, elbo: TermsELBO, size: int = N, **settings: Any) -> tuple[Any, ...]:
    data = torch.randn(size, D, dtype=torch.double)
    experiment = Experiment(programs.model, programs.guide, data, elbo, batch_size=B, **settings)
    state = prepare(experiment)
    state.train(True)
    return experiment, state, experiment.data.x[:B]


def by_programs(experiment: Experiment, state: State, x: Tensor) -> list[Tensor]:
    with seeded(5):
        estimate = experiment.elbo.evaluate(experiment.model, experiment.guide, x)
        parameters = list(state.parameters.values())
        found = torch.autograd.grad(-estimate.objective, parameters, allow_unused=True)
    gradients = [
        torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)
    ]
    values = [estimate.objective, estimate.elbo, *estimate.terms.values()]
    return [torch.stack(values).detach(), *gradients]


def by_graph(graph: StepGraph, x: Tensor) -> list[Tensor]:
    with seeded(5):
        results = graph.module(*graph.slots.inputs(), x, *graph.draw())
    return list(results[: 1 + len(graph.slots.trained)])


def assert_equal(experiment: Experiment, state: State, graph: StepGraph, x: Tensor) -> None:
    wanted, found = by_programs(experiment, state, x), by_graph(graph, x)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.full(but=["BetaELBO", "TotalCorrelationELBO", "FactorELBO"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_is_captured_with_its_weights_as_inputs(name: str) -> None:
    row = OBJECTIVES[name]
    elbo = row()
    numbers = objective_weights(elbo)
    names = ["supervision", *row.weights]
    experiment, state, x = ready(row.program(size=N), elbo)
    graph = capture(step_source(experiment, state), [x], names)
    assert_equal(experiment, state, graph, x)
    for n in row.weights:  # what the graph was captured with does not stay in it
        numbers[n].set(0.75 * float(numbers[n].get()))
    assert_equal(experiment, state, graph, x)


@pytest.mark.full(but=["VAE", "nested plates", "two sites"])
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in OF_ONE_BATCH])
def test_every_program_is_captured_to_the_same_values_and_gradients(name: str) -> None:
    size = B if name == "VAE, full batch" else N
    experiment, state, x = ready(PROGRAMS[name](), BetaELBO(2.0, num_particles=2), size)
    assert_equal(experiment, state, capture(step_source(experiment, state), [x]), x)


def test_the_graph_reads_parameters_and_data_anew() -> None:
    experiment, state, x = ready(vae(), AggregateELBO(alpha=1.0))
    graph = capture(step_source(experiment, state), [x])
    with torch.no_grad():
        for parameter in state.parameters.values():
            parameter.mul_(1.3)
    assert_equal(experiment, state, graph, x)
    assert_equal(experiment, state, graph, experiment.data.x[B : 2 * B])


def test_capturing_leaves_generators_and_parameters_as_they_were() -> None:
    experiment, state, x = ready(vae(), AggregateELBO(alpha=1.0))
    generators = random_state()["torch"]
    places = [(p, p.clone()) for p in state.parameters.values()]
    capture(step_source(experiment, state), [x])
    assert torch.equal(random_state()["torch"], generators)
    networks = {id(p) for module in state.modules for p in module.parameters()}
    assert networks == {id(p) for p, _ in places}
    assert all(torch.equal(p, before) and p.grad is None for p, before in places)


def test_names_are_those_of_the_values() -> None:
    experiment, state, x = ready(vae(), AggregateELBO(alpha=1.0))
    graph = capture(step_source(experiment, state), [x])
    assert graph.names == ("objective", "elbo", "log_likelihood", "kl", "divergence")
    objective, elbo, likelihood, kl, divergence = by_graph(graph, x)[0].tolist()
    assert objective == pytest.approx(elbo - divergence, rel=1e-12)
    assert elbo == pytest.approx(likelihood - kl, rel=1e-12)


class Normalised(nn.Module):
    """An encoder with a layer that keeps statistics, and a buffer that it never writes to."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(D)
        self.encoder = MLPEncoder(D, 2, hidden=(4,))
        self.register_buffer("shift", torch.tensor(0.5))

    def forward(self, x: Tensor) -> Any:
        return self.encoder(self.norm(x) + self.shift)


def normalised() -> Programs:
    module = VAE(normal_prior, Normalised(), MLPDecoder(2, D, hidden=(4,)), size=N).double()
    return Programs(module.model, module.guide, torch.zeros(B, D))


def test_buffers_come_out_as_the_programs_leave_them() -> None:
    experiment, state, x = ready(normalised(), BetaELBO())
    graph = capture(step_source(experiment, state), [x])
    assert len(graph.slots.buffers) == 3  # mean, variance and count; the shift is a constant
    before = [buffer.clone() for buffer in graph.slots.buffers]
    *_, mean, variance, count = graph.module(*graph.slots.inputs(), x, *graph.draw())
    assert all(map(torch.equal, graph.slots.buffers, before))
    experiment.elbo.evaluate(experiment.model, experiment.guide, x)
    torch.testing.assert_close([mean, variance, count], graph.slots.buffers)
    assert count == 1
    assert not torch.equal(mean, before[0])


def test_dropout_draws_what_the_programs_draw() -> None:
    encoder = nn.Sequential(nn.Dropout(0.5), MLPEncoder(D, 2, hidden=(4,)))
    module = VAE(normal_prior, encoder, MLPDecoder(2, D, hidden=(4,)), size=N).double()
    programs = Programs(module.model, module.guide, torch.zeros(B, D))
    experiment, state, x = ready(programs, BetaELBO())
    assert_equal(experiment, state, capture(step_source(experiment, state), [x]), x)


def choosing(x: Tensor) -> None:
    with pyro.plate("data", N, subsample=x):
        z = normal_prior()
        scale = 1.0 if z.sum() > 0 else 2.0
        pyro.sample("x", dist.Normal(torch.zeros(D).double(), scale).to_event(1), obs=x)


class GammaEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(D, 2).double()

    def forward(self, x: Tensor) -> Any:
        rate = nn.functional.softplus(self.layer(x)) + 0.1
        return dist.Gamma(rate, rate).to_event(1)


def gamma_prior() -> Tensor:
    one = torch.ones(2, dtype=torch.double)
    return pyro.sample("z", dist.Gamma(one, one).to_event(1))


def gammas() -> Programs:
    module = VAE(gamma_prior, GammaEncoder(), MLPDecoder(2, D, hidden=(4,)), size=N).double()
    return Programs(module.model, module.guide, torch.zeros(B, D))


def writing() -> Programs:
    kept = torch.zeros(D, dtype=torch.double)
    programs = vae()

    def model(x: Tensor) -> None:
        kept.copy_(x[0])
        programs.model(x)

    return Programs(model, programs.guide, programs.x)


def counting() -> Programs:
    programs, calls = vae(), [0]

    def model(x: Tensor) -> None:
        calls[0] += 1
        with poutine.scale(scale=1.0 + calls[0]):
            programs.model(x)

    return Programs(model, programs.guide, programs.x)


def python_noise() -> Programs:
    programs = vae()

    def model(x: Tensor) -> None:
        with poutine.scale(scale=1.0 + random.random()):
            programs.model(x)

    return Programs(model, programs.guide, programs.x)


class Counting(nn.Module):
    """An encoder that would do something else after many calls."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MLPEncoder(D, 2, hidden=(4,))
        self.calls = 0

    def forward(self, x: Tensor) -> Any:
        self.calls += 1
        return self.encoder(x if self.calls < 200 else 2 * x)


def counting_network() -> Programs:
    module = VAE(normal_prior, Counting(), MLPDecoder(2, D, hidden=(4,)), size=N).double()
    return Programs(module.model, module.guide, torch.zeros(B, D))


class CountingInBuffer(nn.Module):
    """Asks Python for the number in a buffer, as ``BatchNorm1d(momentum=None)`` does."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = MLPEncoder(D, 2, hidden=(4,))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: Tensor) -> Any:
        self.calls.add_(1)
        return self.encoder(x / float(self.calls))


def counting_in_buffer() -> Programs:
    module = VAE(normal_prior, CountingInBuffer(), MLPDecoder(2, D, hidden=(4,)), size=N).double()
    return Programs(module.model, module.guide, torch.zeros(B, D))


REFUSED: dict[str, tuple[Callable[[], Programs], str]] = {
    "a buffer that Python uses": (
        counting_in_buffer,
        r"^encoder.calls is used by Python .*, and steps may change it$",
    ),
    "a choice by value": (
        lambda: Programs(choosing, vae().guide, torch.zeros(B, D)),
        "^values of tensors decide what the programs compute$",
    ),
    "a draw that cannot be lifted": (gammas, "draws depends on parameters, data or buffers"),
    "a count of calls": (counting, "Python decides"),
    "a count that a network keeps": (counting_network, "Python decides"),
    "draws of Python's": (python_noise, "Python decides"),
    "writing to a tensor outside": (writing, "write to a tensor of their own"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_captured_says_why(name: str) -> None:
    build, reason = REFUSED[name]
    experiment, state, x = ready(build(), BetaELBO())
    before = {n: p.clone() for n, p in state.parameters.items()}
    with pytest.raises(CaptureError, match=reason):
        capture(step_source(experiment, state), [x])
    assert all(torch.equal(p, before[n]) for n, p in state.parameters.items())
    assert by_programs(experiment, state, x)[0].isfinite().all()  # the programs still run


def test_a_prior_of_known_parameters_is_sampled_outside_the_graph() -> None:
    experiment, state, x = ready(
        PROGRAMS["VAE, mixture prior"](), AggregateELBO(alpha=1.0, divergence=InclusiveKL())
    )
    graph = capture(step_source(experiment, state), [x])
    draws = graph.draw()
    assert [tuple(draw.shape) for draw in draws] == [(B, 2), (B, 1), (B, 4, 2)]
    nodes = [*graph.module.graph.nodes, *graph.sampler.graph.nodes]
    assert sum(is_random(node.target) for node in nodes) == len(draws)
    assert not any(is_random(node.target) for node in graph.module.graph.nodes)
    assert_equal(experiment, state, graph, x)


class Moving(GaussianMixture):
    """Clusters whose weights every run of the programs changes."""

    def forward(self) -> Any:
        self.logits.mul_(0.9)
        return super().forward()


def test_a_draw_by_a_buffer_that_the_programs_write_to_is_refused() -> None:
    prior = Moving(torch.eye(2), 0.5, torch.tensor([1.0, 3.0]))
    module = VAE(prior, MLPEncoder(D, 2, hidden=(4,)), MLPDecoder(2, D, hidden=(4,)), size=N)
    programs = Programs(module.double().model, module.guide, torch.zeros(B, D))
    experiment, state, x = ready(programs, AggregateELBO(alpha=1.0, divergence=InclusiveKL()))
    with pytest.raises(CaptureError, match=r"'multinomial' draws depends on .* buffers that steps"):
        capture(step_source(experiment, state), [x])


# Flows and spheres are drawn by loops that end by what was drawn.
FIXED = (
    *("isotropic", "anisotropic", "Student-t", "Laplace", "spike and slab", "mixture"),
    *("enumerated mixture", "nested clusters", "a subspace", "two subspaces"),
)


@pytest.mark.full(but=["mixture"])
@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_prior_is_drawn_outside_the_graph_by_what_its_buffers_are(name: str) -> None:
    module = PRIORS[name].vae().double()
    programs = Programs(module.model, module.guide, torch.zeros(B, IN))
    experiment, state, _ = ready(programs, AggregateELBO(alpha=1.0, divergence=InclusiveKL()))
    x = torch.randn(B, IN, dtype=torch.double)
    graph = capture(step_source(experiment, state), [x])

    def assert_same_bits() -> None:
        for one, other in zip(by_programs(experiment, state, x), by_graph(graph, x), strict=True):
            torch.testing.assert_close(other, one, rtol=0, atol=0)

    assert_same_bits()
    before = by_graph(graph, x)[0]
    with torch.no_grad():
        for buffer in module.prior.buffers():
            buffer.copy_((1.2 + 0.1 * torch.rand_like(buffer)) * buffer + 0.05)
    assert_same_bits()
    assert not torch.equal(by_graph(graph, x)[0], before)
