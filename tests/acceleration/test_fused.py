from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pyro_decomp import VAE, AggregateELBO, Experiment, load, train
from pyro_decomp.acceleration import (
    EagerStep,
    Execution,
    GraphStep,
    backends,
    choose,
    resolve,
)
from pyro_decomp.acceleration.fusion import FusionError
from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.errors import ExperimentError, NonFiniteError
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.priors import IsotropicNormal
from pyro_decomp.schedules import Linear
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.loop import ExecutionWarning
from pyro_decomp.training.state import prepare, step_source
from tests.callbacks import Started, Step
from tests.training.test_training import files
from tests.training.test_training_schedules import interrupt_at

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(bool(library.why_not()), reason="no C compiler"),
]

DATA = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
EAGER, FUSED = Execution("eager"), Execution("fused")


def build(encoder: nn.Module | None = None, **options: Any) -> Experiment:
    """Dropout, AMSGrad, a schedule that begins at 0, a last smaller batch."""
    set_seed(7)
    encoder = encoder or nn.Sequential(nn.Dropout(0.2), MLPEncoder(3, 2, hidden=(4,)))
    vae = VAE(IsotropicNormal(2), encoder, MLPDecoder(2, 3, hidden=(4,)), size=len(DATA))
    defaults: dict[str, Any] = {
        "data": DATA,
        "elbo": AggregateELBO(alpha=0.5),
        "epochs": 4,
        "batch_size": 8,
        "optimizer": partial(torch.optim.Adam, lr=0.01, amsgrad=True, fused=True),
        "schedules": {"beta": Linear(0.0, 1.0, until=8)},
    }
    return Experiment(vae.model, vae.guide, **defaults | options)


OPTIONS: dict[str, dict[str, Any]] = {
    "one vector": {},
    "clipped": {"clip_grad_norm": 0.1},
    "rates of their own": {
        "optimizer": lambda p: torch.optim.SGD([{"params": [each]} for each in p], lr=0.01)
    },
}


@pytest.mark.parametrize("name", OPTIONS)
def test_fused_steps_differ_from_eager_ones_by_rounding(name: str, tmp_path: Path) -> None:
    eager, fused = (
        train(build(**OPTIONS[name]), tmp_path / how.steps, execution=how) for how in (EAGER, FUSED)
    )
    for column, values in eager.history.items():
        np.testing.assert_allclose(fused.history[column], values, rtol=1e-4, err_msg=column)
    for parameter, value in fused.state.parameters.items():
        torch.testing.assert_close(value, eager.state.parameters[parameter], rtol=1e-3, atol=1e-5)


def test_they_resume_to_the_same_bits(tmp_path: Path) -> None:
    whole, folder = train(build(), tmp_path / "whole", execution=FUSED), tmp_path / "resumed"
    with pytest.raises(Interrupted):
        train(build(), folder, execution=FUSED, callbacks=[Step(interrupt_at(5))])
    train(build(), folder, resume=True)
    assert files(folder) == files(whole.path)
    again = load(folder, experiment=build())
    parameters = zip(again.state.parameters.values(), whole.state.parameters.values(), strict=True)
    assert all(torch.equal(one, other) for one, other in parameters)


def test_they_go_on_replayed_where_there_is_no_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"schedules": {}}
    whole = train(build(**options), tmp_path / "whole", execution=FUSED)
    with pytest.raises(Interrupted):
        train(
            build(**options), tmp_path / "run", execution=FUSED, callbacks=[Step(interrupt_at(5))]
        )

    def refuse(*_: Any) -> Any:
        raise FusionError("no C compiler was found")

    monkeypatch.setattr("pyro_decomp.acceleration.backends.by_fusion", refuse)
    executions = []
    told = Started(lambda training: executions.append(training.execution))
    with pytest.warns(ExecutionWarning, match="captured steps in place of fused steps"):
        resumed = train(build(**options), tmp_path / "run", resume=True, callbacks=[told])
    assert str(executions[0]).startswith("captured steps (it cannot be fused: no C compiler")
    for name, value in whole.state.parameters.items():
        torch.testing.assert_close(resumed.state.parameters[name], value, rtol=1e-3, atol=1e-5)


def test_a_failing_step_is_told_of_as_in_an_eager_one(tmp_path: Path) -> None:
    messages = []
    for execution in (EAGER, FUSED):
        failing = build(optimizer=lambda p: torch.optim.SGD(p, lr=1e30))
        with pytest.raises(NonFiniteError) as error:
            train(failing, tmp_path / execution.steps, execution=execution)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def chosen(experiment: Experiment, asked: Execution) -> tuple[EagerStep | GraphStep, Execution]:
    state = prepare(experiment)
    state.train(True)
    optimizer = experiment.optimizer(state.parameters.values())
    source = step_source(experiment, state)
    return choose(resolve(asked, source), source, optimizer)


def test_long_runs_of_small_networks_are_fused() -> None:
    _, execution = chosen(build(epochs=2000), Execution())
    assert execution.steps == "fused"
    assert "6000 of" in execution.why
    _, execution = chosen(build(epochs=10), Execution())
    assert execution.steps == "eager"


@pytest.mark.fast
def test_what_cannot_be_fused_is_said_and_done_otherwise() -> None:
    encoder = nn.Sequential(nn.BatchNorm1d(3), MLPEncoder(3, 2, hidden=(4,)))
    with pytest.raises(ExperimentError, match=r"^steps: expected eager, .*batch_norm"):
        chosen(build(encoder), FUSED)
    encoder = nn.Sequential(nn.BatchNorm1d(3), MLPEncoder(3, 2, hidden=(4,)))
    _, execution = chosen(build(encoder, epochs=2000), Execution())
    assert execution.steps == "captured"


def test_a_shape_that_cannot_be_fused_is_replayed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    eager = train(build(), tmp_path / "eager", execution=EAGER)
    made, translate = [], backends.by_fusion

    def once(*arguments: Any) -> Any:
        if made:
            raise FusionError("no more")
        made.append(translate(*arguments))
        return made[0]

    monkeypatch.setattr("pyro_decomp.acceleration.backends.by_fusion", once)
    fused = train(build(), tmp_path / "fused", execution=FUSED)
    np.testing.assert_allclose(fused.history["elbo"], eager.history["elbo"], rtol=1e-4)
