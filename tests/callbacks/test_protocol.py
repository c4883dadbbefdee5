"""Events of training: their order, what they cannot change, what is kept, and what goes wrong."""

import os
import random
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from torch import nn

from pyro_decomp import Experiment, load, train
from pyro_decomp.acceleration import Execution
from pyro_decomp.callbacks import Callback, EarlyStopping, HeldOut, Progress
from pyro_decomp.errors import ArgumentError, ExperimentError, RunError
from pyro_decomp.sweep import sweep
from pyro_decomp.training import loop
from pyro_decomp.training.callbacks import EVENTS, Training
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run import Run
from tests.acceleration.moving import DATA, Programs, build

pytestmark = pytest.mark.full

EPOCHS, STEPS = 4, 12
TEST_DATA = torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.double)


class All(Callback):
    """Calls a function with the name of every event, or of some, and the training."""

    def __init__(self, call: Callable[[str, Training], object], *events: str) -> None:
        for event in events or EVENTS:
            self._listen(event, call)

    def _listen(self, event: str, call: Callable[[str, Training], object]) -> None:
        kind = type("All", (type(self),), {event: lambda self, training: call(event, training)})
        self.__class__ = kind


def experiment(**options: Any) -> Experiment:
    return build(**{"epochs": EPOCHS, "batch_size": 8, "test_data": TEST_DATA} | options)[0]


def trained(folder: Path, *callbacks: Callback, how: str = "eager", **options: Any) -> Run:
    resume = options.pop("resume", False)
    return train(
        experiment(**options),
        folder,
        seed=2,
        execution=Execution(how),
        resume=resume,
        callbacks=callbacks,
    )


def files(run: Run | Path) -> list[bytes]:
    path = run if isinstance(run, Path) else run.path
    return [(path / name).read_bytes() for name in ("checkpoint.pt", "history.csv")]


def interrupt_at(step: int) -> Callback:
    def stop(event: str, training: Training) -> None:
        if training.step == step:
            os.kill(os.getpid(), signal.SIGINT)

    return All(stop, "step")


@pytest.mark.fast
def test_events_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.Loop, "_checkpoint_is_due", lambda loop: loop.step == 4)
    seen: list[tuple[str, int]] = []
    told = All(lambda event, training: seen.append((event, training.step)))
    trained(tmp_path / "run", told, HeldOut(every=2), epochs=2)
    assert seen == [
        ("started", 0),
        *(("step", step) for step in (1, 2, 3)),
        ("epoch", 3),
        ("step", 4),
        ("checkpoint", 4),
        *(("step", step) for step in (5, 6)),
        ("epoch", 6),
        ("evaluated", 6),
        ("checkpoint", 6),
        ("ended", 6),
    ]


def draw(training: Training) -> None:
    torch.rand(3), np.random.rand(3), random.random()
    pyro.sample("z", pyro.distributions.Normal(0.0, 1.0))


def run_programs(training: Training) -> None:
    training.guide(*training.experiment.data[:5])
    training.model(*training.experiment.data[:5])


def leave_gradients(training: Training) -> None:
    sum(p.square().sum() for p in training.parameters.values()).backward()


MEDDLING: dict[str, Callable[[Training], object]] = {
    "draws": draw,
    "seeds": lambda training: pyro.set_rng_seed(3),
    "runs the programs": run_programs,
    "evaluation mode": lambda training: training.state.train(False),
    "training mode": lambda training: training.state.train(True),
    "gradients": leave_gradients,
    "no gradients": lambda training: torch.set_grad_enabled(False),
    "param store": lambda training: pyro.clear_param_store(),
    "asks the run": lambda training: training.run.codes(),
}


@pytest.mark.full(but=["eager-draws"])
@pytest.mark.parametrize("meddle", MEDDLING.values(), ids=MEDDLING)
@pytest.mark.parametrize("how", ["eager", "captured", "fused"])
def test_no_event_changes_the_bits(tmp_path: Path, how: str, meddle: Callable[..., Any]) -> None:
    def programs() -> Programs:
        return Programs() if how == "fused" else Programs(nn.BatchNorm1d(4))

    options = {"how": how, "programs": programs}
    plain = trained(tmp_path / "plain", HeldOut(2), **options)
    told = trained(tmp_path / "told", HeldOut(2), All(lambda _, t: meddle(t)), **options)
    assert files(plain) == files(told)


class Noisy(Programs):
    """Draws from generators that the programs hold."""

    def __init__(self) -> None:
        super().__init__()
        self.numpy, self.python = np.random.default_rng(0), random.Random(0)
        self.torch = torch.Generator().manual_seed(0)

    def prior(self) -> Any:
        drawn = self.numpy.random() + self.python.random()
        loc = drawn + torch.rand(2, generator=self.torch, dtype=torch.double)
        return pyro.distributions.Normal(loc, 1.0).to_event(1)


def test_generators_of_programs_that_a_callback_runs_are_put_back(tmp_path: Path) -> None:
    def run_all(event: str, training: Training) -> None:
        own = training.experiment
        own.elbo.evaluate(own.model, own.guide, *own.data[:5])
        own.model(*own.data[:5])

    plain = trained(tmp_path / "plain", programs=Noisy)
    assert files(trained(tmp_path / "told", All(run_all), programs=Noisy)) == files(plain)


@pytest.mark.parametrize("how", ["eager", "captured"])
def test_what_a_callback_means_to_change_is_changed(tmp_path: Path, how: str) -> None:
    def anneal(event: str, training: Training) -> None:
        training.experiment.elbo.beta = 1.5 - training.step / 10
        with torch.no_grad():
            next(iter(training.parameters.values())).mul_(0.9)

    run = trained(tmp_path / "run", All(anneal, "step"), how=how)
    weighted = run.history["elbo"] + (run.history["objective"] - run.history["elbo"])
    assert run.experiment.elbo.beta == pytest.approx(1.5 - STEPS / 10)
    eager = trained(tmp_path / "eager", All(anneal, "step"))
    for name, column in eager.history.items():
        np.testing.assert_allclose(run.history[name], column, rtol=1e-9, err_msg=name)
    assert np.isfinite(weighted).all()


@pytest.mark.filterwarnings("ignore::pyro_decomp.training.loop.ExecutionWarning")
@pytest.mark.parametrize("how", ["captured", "fused"])
@pytest.mark.parametrize("kind", ["register_hook", "register_post_accumulate_grad_hook"])
def test_a_hook_on_a_gradient_counts_from_the_next_step(
    tmp_path: Path, how: str, kind: str
) -> None:
    def double(given: torch.Tensor) -> torch.Tensor | None:
        if kind == "register_hook":
            return 2 * given
        assert given.grad is not None
        given.grad *= 2
        return None

    def register(_: str, training: Training) -> None:
        if training.step == 5:
            getattr(next(iter(training.parameters.values())), kind)(double)

    eager = trained(tmp_path / "eager", All(register, "step"))
    run = trained(tmp_path / "run", All(register, "step"), how=how)
    assert run.config["execution"]["stretches"][-1]["first_step"] == 6
    for name, parameter in run.state.parameters.items():
        torch.testing.assert_close(parameter, eager.state.parameters[name])


@pytest.mark.full(but=["step"])
@pytest.mark.parametrize("event", EVENTS)
def test_an_error_ends_the_run_which_is_saved_and_names_the_callback(
    tmp_path: Path, event: str
) -> None:
    whole = trained(tmp_path / "whole", HeldOut(2))

    def fail(_: str, training: Training) -> None:
        if training.step >= 6 or event == "started":
            raise ZeroDivisionError("of mine")

    with pytest.raises(RunError, match=f"callback All failed in `{event}`: ZeroDivisionError: of"):
        trained(tmp_path / "run", HeldOut(2), All(fail, event))
    assert load(tmp_path / "run", experiment=experiment()).step == {
        "started": 0, "checkpoint": STEPS, "ended": STEPS,
    }.get(event, 6)  # fmt: skip
    resumed = trained(tmp_path / "run", HeldOut(2), resume=True)
    assert resumed.step == STEPS
    if event in (
        "started",
        "checkpoint",
        "ended",
    ):  # elsewhere the row of the step has no test data
        assert files(whole) == files(resumed)


@pytest.mark.parametrize("event", ["started", "step", "ended"])
def test_all_are_told_of_the_end_whoever_fails(tmp_path: Path, event: str) -> None:
    def fail(_: str, training: Training) -> None:
        raise ZeroDivisionError

    seen: list[str] = []
    told = All(lambda event, training: seen.append(event), "started", "ended")
    with pytest.raises(RunError, match=f"failed in `{event}`"):
        trained(tmp_path / "run", All(fail, event), told, All(fail, "ended"))
    assert seen[-1] == "ended"


class Counting(Callback):
    """Keeps numbers, containers and a thing that cannot be kept."""

    def __init__(self) -> None:
        self.count, self.seen = 0, {"steps": [0]}
        self.stream: Any = None

    def started(self, training: Training) -> None:
        self.stream = iter([1, 2, 3])

    def step(self, training: Training) -> None:
        self.count += 1
        self.seen["steps"].append(self.count)


class Deciding(Callback):
    """Says itself what is kept of it."""

    def __init__(self) -> None:
        self.count = 5

    def step(self, training: Training) -> None:
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state.get("count", 0)


@pytest.mark.fast
def test_what_a_callback_keeps_is_kept_over_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", Counting(), Deciding(), interrupt_at(5))
    counting, deciding = Counting(), Deciding()
    trained(tmp_path / "run", counting, deciding, resume=True)
    assert (counting.count, deciding.count) == (STEPS, STEPS)
    assert counting.seen["steps"] == list(range(STEPS + 1))


def test_callbacks_of_an_interrupted_run_are_to_be_given_again(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", Counting(), interrupt_at(5))
    with pytest.raises(
        RunError, match=r"has what the callbacks Counting keep.* the same callbacks"
    ):
        trained(tmp_path / "run", resume=True)
    assert trained(tmp_path / "run", Counting(), resume=True).step == STEPS


def test_a_state_with_more_than_values_is_refused(tmp_path: Path) -> None:
    class Wrong(Deciding):
        def state_dict(self) -> dict[str, Any]:
            return {"thing": object()}

    with pytest.raises(RunError, match=r"the callback Wrong: expected a state_dict\(\) of names"):
        trained(tmp_path / "run", Wrong())


def test_going_back_to_the_programs_takes_callbacks_back(tmp_path: Path) -> None:
    def move(event: str, training: Training) -> None:
        training.experiment.model.__self__.scale = 1.0 if training.step < 9 else 0.5

    counting, deciding = Counting(), Deciding()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        told = All(move, "step"), counting, deciding
        run = trained(tmp_path / "run", *told, how="captured", batch_size=None, epochs=40)
    assert "the programs are run at every step" in str(caught[-1].message)
    assert (run.step, counting.count, deciding.count) == (40, 40, 40)


def test_recorded_numbers_are_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "MAX_HISTORY_ROWS", 5)

    def record(event: str, training: Training) -> None:
        if training.step in (2, 6):
            training.record({"mine": training.step, "theirs": 1})

    run = trained(tmp_path / "run", All(record, "step"))
    assert run.history["step"].tolist() == [1, 3, 6, 9, 12]
    np.testing.assert_array_equal(run.history["mine"], [np.nan, 2, 6, np.nan, np.nan])
    loaded = load(run.path, experiment=experiment())
    np.testing.assert_array_equal(loaded.history["mine"], run.history["mine"])


@pytest.mark.parametrize("name", ["elbo", "step", "epoch_kl"])
def test_columns_of_training_cannot_be_recorded(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExperimentError, match=rf"record: expected a name .*, got '{name}'"):
        trained(tmp_path / "run", All(lambda _, training: training.record({name: 1.0}), "step"))


def test_a_run_that_is_stopped_is_finished(tmp_path: Path) -> None:
    def stop(event: str, training: Training) -> None:
        if training.step == 5:
            training.stop("enough")

    run = trained(tmp_path / "run", All(stop, "step"))
    assert (run.step, run.resources["stopped"]) == (5, "enough")
    assert len(run.history["step"]) == 5
    before = files(run)
    again = trained(tmp_path / "run", resume=True)
    assert again.step == load(run.path, experiment=experiment()).step == 5
    assert files(again) == before


@pytest.mark.parametrize("reason", ["", 3])
def test_a_reason_is_text(tmp_path: Path, reason: Any) -> None:
    with pytest.raises(RunError, match="reason: expected a clause that says why, got"):
        trained(tmp_path / "run", All(lambda _, training: training.stop(reason), "step"))


@pytest.mark.fast
def test_epochs_have_means_over_their_data(tmp_path: Path) -> None:
    history = trained(tmp_path / "run", batch_size=7).history
    rows = np.array([7, 7, 7, 3])
    for name in ("objective", "elbo", "kl", "divergence"):
        means = history[f"epoch_{name}"].reshape(EPOCHS, 4)
        assert np.isnan(means[:, :3]).all()
        expected = (history[name].reshape(EPOCHS, 4) * rows).sum(1) / len(DATA)
        np.testing.assert_allclose(means[:, 3], expected, rtol=1e-12)


def test_means_of_an_epoch_that_was_interrupted_are_the_same(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole")
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", interrupt_at(5))
    assert files(trained(tmp_path / "run", resume=True)) == files(whole)


def test_an_epoch_of_one_step_has_no_columns_of_its_own(tmp_path: Path) -> None:
    history = trained(tmp_path / "run", batch_size=None).history
    assert not [name for name in history if name.startswith("epoch_")]


def test_in_a_sweep_a_run_with_callbacks_trains_by_itself(tmp_path: Path) -> None:
    file = Path(__file__).parents[2] / "examples" / "pinwheel_mixture.py"
    text = file.read_text().replace("data=data,", "data=data, callbacks=[Mine()],")
    mine = "from pyro_decomp.callbacks import Callback\n\n\nclass Mine(Callback):\n"
    mine += "    def step(self, training):\n        training.record({'mine': training.step})\n\n\n"
    assert text.count("[Mine()]") == 1
    (tmp_path / "mine.py").write_text(text.replace("def experiment", f"{mine}def experiment"))
    values = {"epochs": [3], "batch_size": [400], "anneal": [False]}
    table = sweep(tmp_path / "mine.py", values, 2, out=tmp_path / "out", num_workers=1)
    assert table["way"].to_pylist() == ["single", "single"]
    for history in (tmp_path / "out").rglob("history.csv"):
        assert [line.split(",")[-1] for line in history.read_text().split()] == [
            "mine", "1.0", "2.0", "3.0",
        ]  # fmt: skip


def test_callbacks_of_an_experiment_are_a_description(tmp_path: Path) -> None:
    early = EarlyStopping(monitor="elbo", patience=1, min_delta=100.0)
    trial = experiment(callbacks=[early])
    runs = [train(experiment(callbacks=[early]), tmp_path / name, seed=2) for name in "ab"]
    assert early.best is None
    assert trial.callbacks == [early]
    assert files(runs[0]) == files(runs[1])
    assert [run.step for run in runs] == [6, 6]


def test_the_view_cannot_be_assigned(tmp_path: Path) -> None:
    def assign(event: str, training: Training) -> None:
        with pytest.raises(AttributeError):
            training.step = 3  # type: ignore[misc]
        with pytest.raises(AttributeError):
            training.anything = 3  # type: ignore[attr-defined]
        with pytest.raises(TypeError):
            training.parameters["a"] = torch.ones(2)  # type: ignore[index]
        training.history["elbo"][:] = 0

    run = trained(tmp_path / "run", All(assign, "step"))
    assert run.history["elbo"].all()


@pytest.mark.parametrize("callbacks", [3, [lambda training: None], [Progress]])
def test_what_is_no_callback_is_refused(tmp_path: Path, callbacks: Any) -> None:
    with pytest.raises(ArgumentError, match=r"callbacks: expected a sequence of Callbacks, got"):
        train(experiment(), tmp_path / "run", callbacks=callbacks)
    with pytest.raises(ExperimentError, match=r"expected .*callbacks, such as .EarlyStopping"):
        experiment(callbacks=callbacks)
