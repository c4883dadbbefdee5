"""Steps that depart from the programs are seen, and the run goes back and on by the programs."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from pyro_decomp import Experiment
from pyro_decomp.acceleration import Execution, backends
from pyro_decomp.acceleration.auditor import Auditor
from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.errors import ExperimentError, RunError
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.loop import ExecutionWarning
from pyro_decomp.training.run import Run
from tests.acceleration.moving import Programs, assert_same, build, trained
from tests.acceleration.test_execution import chosen
from tests.training.test_training import files
from tests.training.test_training_schedules import interrupt_at

pytestmark = pytest.mark.full

WAYS = ["captured", *([] if library.why_not() else ["fused"])]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Audits at all powers of two, however slow the machine."""
    monkeypatch.setattr("pyro_decomp.acceleration.verification.LEAST", 1e9)


def scale(experiment: Experiment, programs: Programs, step: int) -> None:
    programs.scale = 1.0 if step < 10 else 0.9**step


class Collecting(Programs):
    """Reads how long a list is that something else makes longer."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def prior(self) -> Any:
        return torch.distributions.Normal(torch.zeros(2).double(), 1.0 + len(self.seen))


def collect(experiment: Experiment, programs: Any, step: int) -> None:
    if step > 20:
        programs.seen.append(step)


@pytest.mark.full(but=["captured"])
@pytest.mark.parametrize("how", WAYS)
def test_python_that_moves_between_steps_takes_the_run_back(how: str, tmp_path: Path) -> None:
    eager = trained(tmp_path / "eager", "eager", scale)
    with pytest.warns(ExecutionWarning, match=r"as model\.scale changed between steps, which was"):
        other = trained(tmp_path / how, how, scale)
    assert_same(eager, other)
    first, second = other.config["execution"]["stretches"]
    assert (first["first_step"], first["steps"]) == (1, how)
    assert (second["first_step"], second["steps"]) == (8, "eager")  # step 8 agreed, 16 did not
    assert "model.scale" in second["why"]
    assert other.config["execution"]["steps"] == "eager"


@pytest.mark.full
@pytest.mark.fast
@pytest.mark.filterwarnings("ignore:`model.decoder.forward_hooks.0` moved, which no checkpoint")
def test_a_hook_that_is_registered_between_steps_is_taken_back(tmp_path: Path) -> None:
    def hooked(experiment: Experiment, programs: Programs, step: int) -> None:
        if step == 10:
            programs.decoder.register_forward_hook(lambda layer, given, out: 1.5 * out)

    eager = trained(tmp_path / "eager", "eager", hooked)
    with pytest.warns(ExecutionWarning, match=r"model\.decoder\.forward_hooks\.0 changed"):
        other = trained(tmp_path / "run", "captured", hooked)
    assert_same(eager, other)


def test_a_buffer_of_another_type_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    def single(experiment: Experiment, programs: Programs, step: int) -> None:
        programs.noise = torch.tensor(0.5 - step / 200)

    def stopped(experiment: Experiment, programs: Programs, step: int) -> None:
        single(experiment, programs, step)
        interrupt_at(20)(SimpleNamespace(step=step))

    whole = trained(tmp_path / "whole", "captured", single)
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", "captured", stopped)
    trained(tmp_path / "run", "captured", single, resume=True)
    assert files(whole.path) == files(tmp_path / "run")


def test_a_change_that_no_audit_sees_is_seen_before_a_checkpoint(tmp_path: Path) -> None:
    def late(experiment: Experiment, programs: Programs, step: int) -> None:
        programs.scale = 1.0 if step < 40 else 0.5

    with pytest.warns(ExecutionWarning, match="seen after step 40"):
        other = trained(tmp_path / "run", "captured", late)
    assert other.step == 40
    assert_same(trained(tmp_path / "eager", "eager", late), other)


def test_such_a_run_resumes_to_the_same_bits(tmp_path: Path) -> None:
    with pytest.warns(ExecutionWarning):
        whole = trained(tmp_path / "whole", "captured", scale)

    def stop(experiment: Experiment, programs: Programs, step: int) -> None:
        scale(experiment, programs, step)
        interrupt_at(25)(SimpleNamespace(step=step))

    with pytest.warns(ExecutionWarning), pytest.raises(Interrupted):
        trained(tmp_path / "run", "captured", stop)
    trained(tmp_path / "run", "captured", scale, resume=True)
    assert files(tmp_path / "run") == files(whole.path)


class Drawing(Programs):
    """Takes its scale from a generator function, which nothing can turn back."""

    def __init__(self) -> None:
        super().__init__()
        self.scales = (0.9**step for step in range(100))


@pytest.mark.fast
@pytest.mark.filterwarnings("ignore::pyro_decomp.training.state.UnkeptStateWarning")
def test_what_cannot_be_taken_back_stops_the_run_with_its_state_saved(tmp_path: Path) -> None:
    def draw(experiment: Experiment, programs: Any, step: int) -> None:
        programs.scale = next(programs.scales)

    with pytest.raises(RunError, match=r"model\.scales cannot be taken back: the run is saved"):
        trained(tmp_path / "run", "captured", draw, programs=Drawing)
    assert (tmp_path / "run" / "checkpoint.pt").exists()


class Counting(Programs):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def prior(self) -> Any:
        self.calls += 1
        return super().prior()


@pytest.mark.full(but=["captured"])
@pytest.mark.parametrize("how", WAYS)
def test_programs_that_count_are_refused_before_the_first_step(how: str, tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match=r"every run changes model\.calls \(make it a sched"):
        trained(tmp_path / "run", how, programs=Counting)
    assert not (tmp_path / "run").exists()
    experiment, _ = build(Counting, epochs=2000)
    _, execution = chosen(experiment, Execution())
    assert execution.steps == "eager"
    assert "model.calls" in execution.why


@pytest.mark.parametrize("what", ["values", "gradients"])
def test_steps_that_come_out_otherwise_later_are_taken_back(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay, calls = backends.replayed, [0]

    def wrong_later(*given: Any) -> Any:
        run = replay(*given)

        def otherwise(inputs: Any) -> backends.StepOutputs:
            outputs = run(inputs)
            calls[0] += 1
            if calls[0] < 36:  # after the audit of step 32
                return outputs
            if what == "values":
                return outputs._replace(values=outputs.values * 1.01)
            return outputs._replace(gradients=[1.01 * each for each in outputs.gradients])

        return otherwise

    monkeypatch.setattr("pyro_decomp.acceleration.backends.replayed", wrong_later)
    with pytest.warns(ExecutionWarning, match="comes out"):
        run = trained(tmp_path / "run", "captured")
    assert_same(trained(tmp_path / "eager", "eager"), run)
    assert run.config["execution"]["stretches"][1]["first_step"] == 32


@pytest.mark.parametrize("how", WAYS)
def test_audits_leave_the_bits_of_training_as_they_are(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def programs() -> Programs:
        return Programs(torch.nn.Sequential(torch.nn.Dropout(0.2)))

    audited: list[int] = []
    after = Auditor.after

    def counted(self: Auditor, pending: Any, result: Any) -> None:
        audited.append(pending[1].step)
        after(self, pending, result)

    monkeypatch.setattr(Auditor, "after", counted)
    with_them = trained(tmp_path / "with", how, programs=programs)
    assert audited[0] == 2
    assert audited[-1] == 40
    monkeypatch.setattr(Auditor, "before", lambda *_: None)
    without = trained(tmp_path / "without", how, programs=programs)
    assert_same_bits(with_them, without)


def assert_same_bits(one: Run, other: Run) -> None:
    assert (one.path / "history.csv").read_bytes() == (other.path / "history.csv").read_bytes()
    kept = [run.folder.read_checkpoint() for run in (one, other)]
    for checkpoint in kept:
        assert checkpoint is not None
        checkpoint["random"] = checkpoint["random"]["torch"]  # checks of types draw from Python's
    torch.testing.assert_close(*kept, rtol=0, atol=0)


class Writing(Programs):
    """Keeps its last codes, which nothing reads."""

    def guide(self, x: Tensor) -> None:
        super().guide(x)
        self.last = torch.randn(2)


def test_a_tensor_that_is_only_written_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"model\.last is a tensor that the programs write and do"):
        run = trained(tmp_path / "run", "captured", programs=Writing)
    assert run.config["execution"]["steps"] == "captured"
    assert_same(trained(tmp_path / "eager", "eager", programs=Writing), run)


def test_the_record_reads_back(tmp_path: Path) -> None:
    with pytest.warns(ExecutionWarning):
        run = trained(tmp_path / "run", "captured", scale)
    again = Execution.of_config(json.loads((run.path / "config.json").read_text()))
    assert again.stretches[1].first_step == 8
    assert str(again).startswith("eager steps (model.scale changed between steps")
    assert again.differs_from(again) == []
