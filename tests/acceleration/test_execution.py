import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_decomp import VAE, AggregateELBO, Experiment, load, train
from pyro_decomp.acceleration import (
    EagerStep,
    Execution,
    GraphStep,
    backends,
    check_count,
    choose,
    policy,
    resolve,
)
from pyro_decomp.elbo import BetaELBO, FactorELBO
from pyro_decomp.errors import ExperimentError, NonFiniteError, RunError
from pyro_decomp.networks import ConvDecoder32, ConvEncoder32, Discriminator, MLPDecoder, MLPEncoder
from pyro_decomp.priors import IsotropicNormal
from pyro_decomp.schedules import Constant, Linear
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run import Run
from pyro_decomp.training.state import prepare, step_source
from tests.callbacks import Step
from tests.training.test_training import files
from tests.training.test_training_schedules import interrupt_at

MOST = 16 * (os.cpu_count() or 1)
DATA = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
EAGER, CAPTURED, COMPILED = (Execution(steps) for steps in ("eager", "captured", "compiled"))


def build(**options: Any) -> Experiment:
    """Batch statistics, dropout, AMSGrad, a schedule that begins at 0, a last smaller batch."""
    set_seed(7)
    encoder = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.2), MLPEncoder(3, 2, hidden=(4,)))
    vae = VAE(IsotropicNormal(2), encoder, MLPDecoder(2, 3, hidden=(4,)), size=len(DATA))
    defaults: dict[str, Any] = {
        "data": DATA,
        "elbo": AggregateELBO(alpha=0.5),
        "epochs": 4,
        "batch_size": 8,
        "optimizer": lambda p: torch.optim.Adam(p, lr=0.05, amsgrad=True),
        "schedules": {"beta": Linear(0.0, 1.0, until=8)},
    }
    return Experiment(vae.model, vae.guide, **defaults | options)


def assert_same_bits(one: Run, other: Run) -> None:
    assert (one.path / "history.csv").read_bytes() == (other.path / "history.csv").read_bytes()
    kept = [run.folder.read_checkpoint() for run in (one, other)]
    for checkpoint in kept:
        assert checkpoint is not None
        checkpoint["random"] = checkpoint["random"]["torch"]  # checks of types draw from Python's
    torch.testing.assert_close(*kept, rtol=0, atol=0)


@pytest.mark.full
def test_captured_steps_are_eager_ones_bit_for_bit(tmp_path: Path) -> None:
    assert_same_bits(
        *(
            train(build(), tmp_path / execution.steps, seed=3, execution=execution)
            for execution in (EAGER, CAPTURED)
        )
    )


@pytest.mark.full
def test_clipped_and_captured(tmp_path: Path) -> None:
    assert_same_bits(
        *(
            train(build(clip_grad_norm=0.1), tmp_path / execution.steps, execution=execution)
            for execution in (EAGER, CAPTURED)
        )
    )


OF_ONE_BATCH: dict[str, Any] = {"schedules": {}, "batch_size": 20, "epochs": 12}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("compiled")
    return train(build(**OF_ONE_BATCH), folder, execution=COMPILED)


@pytest.mark.slow
def test_compiled_steps_differ_from_eager_ones_by_rounding(compiled: Run, tmp_path: Path) -> None:
    eager = train(build(**OF_ONE_BATCH), tmp_path / "eager", execution=EAGER)
    for name, column in eager.history.items():
        np.testing.assert_allclose(compiled.history[name], column, rtol=1e-4, err_msg=name)
    for name, parameter in compiled.state.parameters.items():
        torch.testing.assert_close(parameter, eager.state.parameters[name], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_compiled_runs_resume_to_the_same_bits(compiled: Run, tmp_path: Path) -> None:
    options, folder = OF_ONE_BATCH, tmp_path / "resumed"
    with pytest.raises(Interrupted):
        train(build(**options), folder, execution=COMPILED, callbacks=[Step(interrupt_at(5))])
    train(build(**options), folder, resume=True)
    assert files(folder) == files(compiled.path)
    again = load(folder, experiment=build(**options))
    assert all(
        map(torch.equal, again.state.parameters.values(), compiled.state.parameters.values())
    )


@pytest.mark.full
def test_a_failing_step_is_told_of_as_in_an_eager_one(tmp_path: Path) -> None:
    messages = []
    for execution in (EAGER, CAPTURED):
        failing = build(optimizer=lambda p: torch.optim.SGD(p, lr=1e30))
        with pytest.raises(NonFiniteError) as error:
            train(failing, tmp_path / execution.steps, execution=execution)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    eager, captured = (load(tmp_path / name, experiment=build()) for name in ("eager", "captured"))
    assert eager.step == captured.step == 1
    assert eager.history["objective"] == captured.history["objective"]
    for name, parameter in eager.state.parameters.items():
        assert torch.equal(parameter, captured.state.parameters[name])


@pytest.mark.full
def test_what_was_chosen_is_recorded_and_kept(tmp_path: Path) -> None:
    train(build(), tmp_path / "run", execution=CAPTURED)
    recorded = load(tmp_path / "run", experiment=build()).config["execution"]
    assert recorded["steps"] == "captured"
    assert recorded["precision"] == "float32"
    assert recorded["threads"] == 1
    with pytest.raises(RunError, match="cannot be resumed with steps eager: it was started with c"):
        train(build(), tmp_path / "run", resume=True, execution=EAGER)


def test_runs_from_before_executions_were_recorded_go_on_as_eager() -> None:
    assert Execution.of_config({}) == Execution("eager", "float32", "contiguous")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"steps": "fast"},
            "steps: expected one of 'auto', 'eager', 'captured', 'compiled', 'fused', got 'fast'",
        ),
        ({"precision": "float16"}, "precision: expected one of 'auto', 'float32', 'bfloat16'"),
        ({"memory_format": "last"}, "memory_format: expected one of 'auto', 'contiguous'"),
        ({"threads": 0}, "threads: expected a positive whole number, got 0"),
        (
            {"threads": 10**9},
            f"threads: expected a whole number from 1 to {MOST}, 16 for each proc",
        ),
    ],
)
def test_wrong_values_name_the_right_ones(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        Execution(**values)


def chosen(experiment: Experiment, asked: Execution) -> tuple[EagerStep | GraphStep, Execution]:
    state = prepare(experiment)
    state.train(True)
    optimizer = experiment.optimizer(state.parameters.values())
    source = step_source(experiment, state)
    return choose(resolve(asked, source), source, optimizer)


@pytest.mark.full
def test_short_runs_stay_eager_and_long_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    step, execution = chosen(build(epochs=20), Execution())
    assert isinstance(step, EagerStep)
    assert execution.why == "60 are too few for capturing to pay"
    step, execution = chosen(build(epochs=1500), Execution())
    assert isinstance(step, GraphStep)
    assert execution.steps == "captured"
    monkeypatch.setattr(policy, "unavailable_reason", lambda device: "there is no compiler here")
    step, execution = chosen(build(epochs=100_000), Execution())
    assert execution.steps == "captured"
    assert execution.why.endswith("; there is no compiler here")
    with pytest.raises(ExperimentError, match="expected eager, captured or auto, as there is no"):
        chosen(build(), COMPILED)


def test_longer_runs_never_get_a_slower_way() -> None:
    for operations in (50, 200, 1000):
        found = [policy._paying(steps, operations) for steps in (10, 10**3, 10**4, 10**5, 10**6)]
        assert found == sorted(found, key=len)
        assert (found[0], found[-1]) == ([], ["fused", "compiled", "captured"])


def test_objectives_with_networks_of_their_own_are_eager() -> None:
    def factor() -> Experiment:
        return build(
            elbo=FactorELBO(2.0, Discriminator(2, hidden=(4,))), schedules={}, epochs=10**6
        )

    _, execution = chosen(factor(), Execution())
    assert execution.steps == "eager"
    assert execution.why.startswith("the objective trains networks of its own")
    with pytest.raises(ExperimentError, match="steps: expected eager or auto, as the objective"):
        chosen(factor(), CAPTURED)


def images() -> Experiment:
    set_seed(7)
    x = torch.rand(4, 1, 32, 32)
    vae = VAE(IsotropicNormal(2), ConvEncoder32(2), ConvDecoder32(2), size=len(x))
    return Experiment(vae.model, vae.guide, x, AggregateELBO(), epochs=2)


def test_convolutions_get_their_format() -> None:
    experiment = images()
    state = prepare(experiment)
    found = resolve(Execution(), step_source(experiment, state))
    assert (found.precision, found.memory_format) == ("float32", "channels_last")
    weights = [p for p in state.parameters.values() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    plain = build()
    found = resolve(Execution(), step_source(plain, prepare(plain)))
    assert (found.precision, found.memory_format) == ("float32", "contiguous")


@pytest.mark.full
def test_formats_change_nothing_but_rounding(tmp_path: Path) -> None:
    runs = [
        train(images(), tmp_path / layout, execution=Execution("eager", "float32", layout))
        for layout in ("contiguous", "channels_last")
    ]
    for name, column in runs[0].history.items():
        np.testing.assert_allclose(runs[1].history[name], column, rtol=1e-4, err_msg=name)


@pytest.mark.full
def test_more_threads_change_nothing_but_rounding_and_are_put_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    runs = [
        train(build(), tmp_path / str(n), execution=Execution("eager", threads=n)) for n in (1, 2)
    ]
    assert torch.get_num_threads() == before
    for name, column in runs[0].history.items():
        np.testing.assert_allclose(runs[1].history[name], column, rtol=1e-4, err_msg=name)


class Wide(MLPEncoder):
    """An encoder with a layer that it never uses."""

    def __init__(self) -> None:
        super().__init__(3, 2, hidden=(4,))
        self.extra = nn.Linear(3, 3)


class Learned(nn.Module):
    """A prior whose location is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(2))

    def forward(self) -> torch.Tensor:
        return pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))


def without_gradients(kind: str) -> Experiment:
    """Parameters that the objective does not depend on, for ever or for some steps."""
    set_seed(7)
    decays = kind == "a layer that is not used, with weight decay"
    encoder = Wide() if decays else MLPEncoder(3, 2, hidden=(4,))
    prior = IsotropicNormal(2) if decays else Learned()
    vae = VAE(prior, encoder, MLPDecoder(2, 3, hidden=(4,)), size=len(DATA))
    held = Constant(0.0, until=5).then(Linear(0.1, 1.0, until=9))
    return Experiment(
        vae.model,
        vae.guide,
        DATA,
        BetaELBO(),
        epochs=12,
        batch_size=20,
        optimizer=partial(torch.optim.AdamW, lr=0.05, weight_decay=0.3 * decays, fused=True),
        schedules={} if decays else {"beta": held},
    )


@pytest.mark.full(but=["a layer that is not used, with weight decay-captured"])
@pytest.mark.parametrize("how", ["captured", "fused"])
@pytest.mark.parametrize(
    "kind", ["a layer that is not used, with weight decay", "a prior that waits"]
)
def test_parameters_without_a_gradient_are_left_alone(kind: str, how: str, tmp_path: Path) -> None:
    eager, other = (
        train(without_gradients(kind), tmp_path / steps, execution=Execution(steps))
        for steps in ("eager", how)
    )
    for name, parameter in eager.state.parameters.items():
        found = other.state.parameters[name]
        torch.testing.assert_close(found, parameter, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.full
@pytest.mark.parametrize("what", ["values", "gradients"])
def test_steps_that_come_out_otherwise_are_not_taken(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = backends.replayed

    def wrong(*given: Any) -> Any:
        run = replay(*given)

        def otherwise(inputs: Any) -> backends.StepOutputs:
            outputs = run(inputs)
            if what == "values":
                return outputs._replace(values=outputs.values * 1.01)
            return outputs._replace(gradients=[-each for each in outputs.gradients])

        return otherwise

    monkeypatch.setattr("pyro_decomp.acceleration.backends.replayed", wrong)
    step, execution = chosen(build(epochs=1500), Execution())
    assert isinstance(step, EagerStep)
    assert "comes out" in execution.why
    with pytest.raises(ExperimentError, match=r"expected eager or auto, as .* comes out"):
        chosen(build(), CAPTURED)


@pytest.mark.full
def test_holding_a_step_against_the_programs_changes_nothing() -> None:
    experiment = build()
    state = prepare(experiment)
    state.train(True)
    optimizer = experiment.optimizer(state.parameters.values())
    tensors = [t for module in state.modules for t in (*module.parameters(), *module.buffers())]
    before = [tensor.clone() for tensor in tensors]
    noise = torch.get_rng_state()
    source = step_source(experiment, state)
    choose(resolve(CAPTURED, source), source, optimizer)
    assert all(map(torch.equal, before, tensors))
    assert all(parameter.grad is None for parameter in state.parameters.values())
    assert torch.equal(noise, torch.get_rng_state())


def test_runs_of_a_larger_machine_go_on_but_none_begins_with_so_many_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    many = Execution(threads=33)
    assert Execution.of_config({"execution": asdict(many)}) == many
    with pytest.raises(
        ExperimentError, match="threads: expected a whole number from 1 to 32, 16 f"
    ):
        train(build(), tmp_path / "run", execution=many)
    assert not (tmp_path / "run").exists()
    check_count(threads=32)
