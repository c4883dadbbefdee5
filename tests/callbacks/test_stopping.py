"""Early stopping and the best checkpoint, by numbers that are known."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp import load
from pyro_decomp.callbacks import BestCheckpoint, Callback, EarlyStopping, HeldOut
from pyro_decomp.errors import ExperimentError, RunError
from pyro_decomp.training.callbacks import Training
from pyro_decomp.training.interruption import Interrupted
from tests.callbacks.test_protocol import STEPS, experiment, files, interrupt_at, trained

pytestmark = pytest.mark.full

VALUES = [1.0, 3.0, 2.0, 3.05, 2.5, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


class Says(Callback):
    """Records known numbers as evaluations, one a step."""

    def __init__(self, values: Sequence[float] = VALUES) -> None:
        self.values = list(values)

    def step(self, training: Training) -> None:
        training.record({"score": self.values[training.step - 1]}, is_evaluation=True)


@pytest.mark.full(but=["settings0-*"])
@pytest.mark.parametrize(
    ("settings", "stops", "best"),
    [
        ({"patience": 2}, 8, (4.0, 6)),
        ({"patience": 1}, 3, (3.0, 2)),
        ({"patience": 3}, 9, (4.0, 6)),
        ({"patience": 3, "min_delta": 0.1}, 5, (3.0, 2)),
        ({"patience": 9}, STEPS, (4.0, 6)),
        ({"patience": 4, "mode": "min"}, 5, (1.0, 1)),
    ],
)
def test_a_run_stops_where_a_number_is_no_better(
    tmp_path: Path, settings: dict[str, Any], stops: int, best: tuple[float, int]
) -> None:
    early = EarlyStopping("score", **settings)
    run = trained(tmp_path / "run", Says(), early)
    assert run.step == stops
    assert (early.best, early.best_step) == best
    said = run.resources.get("stopped")
    assert (said is None) == (stops == STEPS)
    if said:
        waited, value, step = settings["patience"], *best
        assert said == f"score was no better in {waited} values than {value:.6g} of step {step}"
    assert load(run.path, experiment=experiment()).step == stops


@pytest.mark.parametrize("step", range(1, 8))
def test_a_resumed_run_stops_at_the_same_step_with_the_same_bits(tmp_path: Path, step: int) -> None:
    def told() -> list[Callback]:
        return [EarlyStopping("score", patience=2), Says(), BestCheckpoint("score"), HeldOut(1)]

    whole = trained(tmp_path / "whole", *told())
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", *told(), interrupt_at(step))
    run = trained(tmp_path / "run", *told(), resume=True)
    assert run.step == whole.step == 8
    assert files(run) == files(whole)
    best = [(each.path / "best.pt").read_bytes() for each in (run, whole)]
    assert best[0] == best[1]


def test_the_same_callback_begins_anew_in_another_run(tmp_path: Path) -> None:
    early = EarlyStopping("score", patience=2)
    assert [trained(tmp_path / name, Says(), early).step for name in "ab"] == [8, 8]


def test_a_run_that_was_stopped_can_go_on(tmp_path: Path) -> None:
    early = EarlyStopping("score", patience=2)
    run = trained(tmp_path / "run", Says(), early)
    assert run.step == 8
    with pytest.raises(RunError, match="trained to its end, step 8: expected how many more"):
        run.train()
    run.train(epochs=1, callbacks=[Says(VALUES * 2), early])
    assert (run.step, run.history["step"][-1]) == (10, 10)  # stopped again
    run.train(epochs=1, callbacks=[Says(range(30)), early])
    assert run.step == 15


def test_a_mean_over_an_epoch_can_be_watched(tmp_path: Path) -> None:
    early = EarlyStopping("elbo", patience=1, min_delta=100.0)
    run = trained(tmp_path / "run", early)
    assert (run.step, early.best_step) == (6, 3)
    assert early.best == run.history["epoch_elbo"][2]


@pytest.mark.parametrize("kind", [EarlyStopping, BestCheckpoint])
def test_held_out_numbers_need_who_gives_them(tmp_path: Path, kind: type[Callback]) -> None:
    message = rf"{kind.__name__}: expected a callback that gives test_elbo, got none \(add HeldOut"
    with pytest.raises(ExperimentError, match=message):
        trained(tmp_path / "run", kind())
    assert trained(tmp_path / "run", kind(), HeldOut()).step == STEPS


@pytest.mark.parametrize(
    ("name", "others", "step"),
    [
        ("elbow", [], 3),
        ("test_elbow", [HeldOut(4)], 3),
        ("elbow", [Says()], STEPS),  # which may give any at any time
    ],
)
def test_a_number_that_nothing_gives_is_said_as_soon_as_that_is_known(
    tmp_path: Path, name: str, others: list[Callback], step: int
) -> None:
    message = rf"expected monitor to be one of .*elbo.*, got '{name}', which no step and"
    with pytest.raises(ExperimentError, match=message):
        trained(tmp_path / "run", EarlyStopping(name), *others)
    assert load(tmp_path / "run", experiment=experiment()).step == step


def test_the_best_is_the_run_as_it_was(tmp_path: Path) -> None:
    kept: dict[str, Any] = {}

    class Look(Callback):
        def step(self, training: Training) -> None:
            if training.step == 6:
                kept.update({n: p.detach().clone() for n, p in training.parameters.items()})

    run = trained(tmp_path / "run", Says(), BestCheckpoint("score"), Look())
    best = load(run.path, experiment=experiment(), checkpoint="best")
    assert (best.step, run.step) == (6, STEPS)
    assert len(best.history["step"]) == 6
    for name, parameter in best.state.parameters.items():
        assert torch.equal(parameter, kept[name])
    assert load(run.path, experiment=experiment()).step == STEPS


def test_a_run_without_a_best_says_how_to_have_one(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    with pytest.raises(RunError, match=r"no checkpoint of its best \(train with BestCheckpoint"):
        load(run.path, experiment=experiment(), checkpoint="best")


def test_a_best_that_a_killed_run_was_ahead_with_is_taken_again(tmp_path: Path) -> None:
    """The best of step 6 is on disk, and the last checkpoint is of the beginning."""

    class Killed(BaseException):
        pass

    class Kill(Callback):
        def step(self, training: Training) -> None:
            if training.step == 7:
                raise Killed

    with pytest.raises(Killed):
        trained(tmp_path / "run", Says(), BestCheckpoint("score"), Kill())
    assert load(tmp_path / "run", experiment=experiment(), checkpoint="best").step == 6
    run = trained(tmp_path / "run", Says(), BestCheckpoint("score"), resume=True)
    whole = trained(tmp_path / "whole", Says(), BestCheckpoint("score"))
    assert (run.path / "best.pt").read_bytes() == (whole.path / "best.pt").read_bytes()


def test_a_signal_while_it_waits_is_heard(tmp_path: Path) -> None:
    class Stop(Callback):
        def evaluated(self, training: Training) -> None:
            if training.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        trained(tmp_path / "run", Says(), EarlyStopping("score"), Stop())
