"""One experiment with several seeds is the runs of each seed."""

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp import train
from pyro_decomp.errors import RunError
from pyro_decomp.sweep import SweepInterrupted, seeds, sweep
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import Interrupted
from tests.callbacks import Step
from tests.sweep.files import SOURCE
from tests.training.test_going_on import made, values

SEEDS = [3, 1]


@pytest.fixture
def source(tmp_path: Path) -> ExperimentFile:
    return ExperimentFile.from_source(SOURCE, tmp_path / "trial.py")


@pytest.mark.full
def test_of_a_file_they_are_trained_together(source: ExperimentFile, tmp_path: Path) -> None:
    runs = train(source, seeds=SEEDS, arguments={"beta": 2.0})
    for seed, run in zip(SEEDS, runs, strict=True):
        alone = train(source, tmp_path / str(seed), seed=seed, arguments={"beta": 2.0})
        assert run.seed == seed
        assert run.config["arguments"] == alone.config["arguments"]
        for one, other in zip(values(run), values(alone), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    folder = runs[0].path.parents[1]
    assert folder.exists()
    del run, runs
    assert not folder.exists()


@pytest.mark.full
def test_of_a_function_too(tmp_path: Path) -> None:
    runs = train(made, tmp_path, seeds=SEEDS, arguments={"epochs": 1})
    for seed, run in zip(SEEDS, runs, strict=True):
        assert (run.seed, run.step) == (seed, 3)
        alone = train(made, seed=seed, arguments={"epochs": 1})
        for one, other in zip(values(run), values(alone), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.full
def test_a_finished_sweep_is_left_for_a_numbered_one(
    source: ExperimentFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    first, second = (train(source, out, seeds=[0], arguments={"beta": b})[0] for b in (1.0, 2.0))
    assert [run.path.parents[1].name for run in (first, second)] == ["out", "out-2"]
    said = capsys.readouterr().err.splitlines()
    assert f"{out} holds a finished sweep, so this one is in {out}-2" in said
    assert "members 1/1" in said[-1]
    again = train(source, out, seeds=[0, 1], arguments={"beta": 1.0}, resume=True)
    assert again[0].path == first.path
    train(source, seeds=[0])
    assert re.search(r"^the run is in .* for as long", capsys.readouterr().err, re.MULTILINE)


def test_of_an_experiment_one_after_another(tmp_path: Path) -> None:
    given = made()
    runs = train(given, tmp_path, seeds=SEEDS)
    for seed, run in zip(SEEDS, runs, strict=True):
        assert run.path == tmp_path / f"seed={seed}"
        assert all(map(torch.equal, values(run), values(train(given, seed=seed))))


def stop(training: Any) -> None:
    if training.seed == 1:
        os.kill(os.getpid(), signal.SIGINT)


def test_an_interruption_stops_all_and_keeps_those_that_are_done() -> None:
    with pytest.raises(Interrupted) as caught:
        train(made, seeds=[3, 1, 2], callbacks=[Step(stop)])
    assert [run.seed for run in caught.value.runs] == [3]
    assert (caught.value.run.seed, caught.value.run.step) == (1, 1)


def test_in_a_notebook_the_list_ends_with_the_run_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_decomp.training.fitting.in_notebook", lambda: True)
    runs = train(made, seeds=[3, 1, 2], callbacks=[Step(stop)])
    assert [(run.seed, run.interrupted) for run in runs] == [(3, False), (1, True)]


def test_a_seed_that_fails_is_named(source: ExperimentFile, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"^seed 0: .*no way.*; the other runs are in"):
        train(source, tmp_path / "out", seeds=[0], arguments={"fail": "build"})


def test_of_a_file_those_that_are_done_are_kept(
    source: ExperimentFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sweep_until_stopped(source: Any, values: Any, chosen: Any, **options: Any) -> None:
        sweep(source, values, chosen[:1], **options)
        raise SweepInterrupted(1, 2, options["out"])

    monkeypatch.setattr(seeds, "sweep", sweep_until_stopped)
    with pytest.raises(Interrupted) as caught:
        train(source, seeds=SEEDS)
    assert [(run.seed, run.step) for run in caught.value.runs] == [(3, 3)]
    assert caught.value.out.exists()
    assert "interrupted after 1 of 2 members" in str(caught.value)
    assert "resume=True goes on" in str(caught.value)


@pytest.mark.parametrize("given", [[], [1, 1], ["a"], 3])
def test_what_are_no_seeds_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match=r"^seeds"):
        train(made, seeds=given)  # type: ignore[arg-type]
