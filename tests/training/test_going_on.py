"""Runs that are interrupted, go on, and go on beyond their end."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pyro_decomp import Experiment, load, train
from pyro_decomp.errors import ArgumentError, NonFiniteError, RunError
from pyro_decomp.schedules import Linear
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.progress import Progress
from pyro_decomp.training.run import Run
from tests.callbacks import Step
from tests.training.test_description import DATA, of_vae

EPOCHS = 3
ROOT = Path(__file__).parents[2]


def made(epochs: int = EPOCHS) -> Experiment:
    experiment = of_vae()
    return Experiment(
        experiment.model,
        experiment.guide,
        DATA,
        experiment.elbo,
        epochs=epochs,
        batch_size=5,
        schedules={"beta": Linear(0.5, 2.0, until=1.0)},
    )


def interrupt_at(step: int) -> Step:
    def interrupt(training: Any) -> None:
        if training.step == step:
            signal.raise_signal(signal.SIGINT)

    return Step(interrupt)


def values(run: Run) -> list[Tensor]:
    return [p.detach().clone() for p in run.state.parameters.values()]


def stopped(**options: Any) -> Run:
    with pytest.raises(KeyboardInterrupt) as caught:
        train(made, callbacks=[interrupt_at(4)], **options)
    assert isinstance(caught.value, Interrupted)
    run: Run = caught.value.run
    assert (caught.value.step, run.step, run.interrupted) == (4, 4, True)
    return run


def test_an_interrupted_run_is_used_and_finished_to_the_same_bits(tmp_path: Path) -> None:
    whole = train(made, tmp_path / "whole")
    run = stopped(out=tmp_path / "run")
    assert not run.guide.__self__.training  # type: ignore[attr-defined]
    assert len(run.history["elbo"]) == 4
    before = values(run)
    assert run.train() is run
    assert any(not torch.equal(a, b) for a, b in zip(values(run), before, strict=True))
    assert (run.step, run.interrupted) == (whole.step, False)
    for name in ("checkpoint.pt", "history.csv"):
        assert (run.path / name).read_bytes() == (whole.path / name).read_bytes()
    assert all(map(torch.equal, values(run), values(whole)))


def test_a_temporary_run_that_was_interrupted_keeps_its_folder() -> None:
    path = stopped().path
    assert load(path, experiment=made()).step == 4


def test_the_notebook_gets_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_decomp.training.fitting.in_notebook", lambda: True)
    run = train(made, callbacks=[interrupt_at(4)])
    assert run.interrupted
    run = run.train(callbacks=[interrupt_at(6)])
    assert (run.step, run.interrupted) == (6, True)
    assert not run.train().interrupted


def test_a_finished_run_goes_on_and_schedules_keep_their_last_value(tmp_path: Path) -> None:
    run = train(made, tmp_path / "run")
    began = run.history["elbo"].copy()
    run.train(epochs=2)
    assert run.step == 3 * (EPOCHS + 2)
    np.testing.assert_array_equal(run.history["elbo"][: len(began)], began)
    assert run.history["beta"][8:].tolist() == [2.0] * 7
    assert run.config["stretches"] == [9, 15]
    loaded = load(run.path, experiment=made())
    assert loaded.step == 15
    assert loaded.train(epochs=1).step == 18
    with pytest.raises(RunError, match=r"expected the checkpoint of step 15 .* found another"):
        run.train(epochs=1)


def test_by_resuming_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    train(made, tmp_path / "a", arguments={"epochs": EPOCHS}).train(epochs=2)
    arguments = {"epochs": EPOCHS + 2}
    train(made, tmp_path / "b", arguments={"epochs": EPOCHS})
    with pytest.raises(KeyboardInterrupt):
        train(made, tmp_path / "b", resume=True, arguments=arguments, callbacks=[interrupt_at(12)])
    train(made, tmp_path / "b", resume=True, arguments=arguments)
    for name in ("checkpoint.pt", "history.csv", "config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    again = train(made, tmp_path / "b", resume=True, arguments={"epochs": EPOCHS})
    assert again.step == 15  # nothing is left to do


def test_what_is_refused(tmp_path: Path) -> None:
    run = train(made, tmp_path / "run", arguments={"epochs": EPOCHS})
    with pytest.raises(RunError, match=r"at least the 3 epochs .*, got epochs=2$"):
        train(made, tmp_path / "run", resume=True, arguments={"epochs": 2})
    with pytest.raises(RunError, match=r"trained to its end, step 9: .*run\.train\(epochs=100\)"):
        run.train()
    with pytest.raises(ArgumentError, match="epochs"):
        run.train(epochs=0)
    unfinished = stopped(out=tmp_path / "other")
    with pytest.raises(RunError, match=r"finish it as it was begun before .* epochs=5"):
        train(made, unfinished.path, resume=True, arguments={"epochs": 5})
    with pytest.raises(RunError, match="already holds a run: continue it with --resume"):
        train(made, unfinished.path)


def test_a_run_that_fails_as_it_goes_on_is_at_its_last_checkpoint(tmp_path: Path) -> None:
    run = train(made, tmp_path / "run")
    before = values(run)

    def spoil(training: Any) -> None:
        with torch.no_grad():
            next(iter(training.state.parameters.values())).fill_(torch.nan)

    with pytest.raises(NonFiniteError):
        run.train(epochs=1, callbacks=[Step(spoil)])
    assert run.step == 9
    assert all(map(torch.equal, values(run), before))
    assert run.train().step == 12


@pytest.mark.full
@pytest.mark.parametrize("out", [".", "../run", "x/..", "./"])
def test_a_number_goes_to_the_name_of_the_folder_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    assert train(made, out).path == Path(out)
    found = train(made, out).path
    assert found.resolve() == tmp_path / "run-2"
    assert load(found).step == 9


def test_a_folder_with_a_finished_run_is_left_for_a_numbered_one(tmp_path: Path) -> None:
    runs = [train(made, tmp_path / "run", seed=s) for s in range(3)]
    assert [run.path.name for run in runs] == ["run", "run-2", "run-3"]
    assert runs[1].folder.note == f"{tmp_path}/run holds a finished run, so this one is in " + str(
        runs[1].path
    )
    assert train(made, tmp_path / "run", force=True).path == tmp_path / "run"
    assert train(made, tmp_path / "run", resume=True).path == tmp_path / "run"


SCRIPT = """
import os, signal
from pyro_decomp import train
from tests.callbacks import Step
from tests.training.test_going_on import made

def stop(training):
    if training.step == 4:
        os.kill(os.getpid(), signal.SIGINT)

for seed in range(3):
    try:
        train(made, f"run{seed}", seed=seed, callbacks=[Step(stop)])
    except Exception:
        print("swallowed")
    print("next")
"""


@pytest.mark.full
def test_a_signal_ends_the_loop_of_a_script(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert "interrupted at step 4; the run is in run0" in done.stderr
    assert load(tmp_path / "run0", experiment=made()).step == 4
    assert [path.name for path in tmp_path.iterdir()] == ["run0"]


@pytest.mark.parametrize("out", ["run", None])
def test_where_a_run_is_that_was_not_asked_for_is_the_first_line(
    out: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if out is not None:
        train(made, tmp_path / out, callbacks=[Progress("none")])
    run = train(made, None if out is None else tmp_path / out)
    assert capsys.readouterr().err.splitlines()[0] == run.folder.note
    assert str(run.path) in run.folder.note


CELLS = [
    """
import os, signal
from pyro_decomp import train
from tests.callbacks import Step
from tests.training.test_going_on import made

def stop(training):
    if training.step == 4:
        os.kill(os.getpid(), signal.SIGINT)

run = train(made, callbacks=[Step(stop)])
assert (run.step, run.interrupted) == (4, True)
""",
    "assert run.train().step == 9\nassert not run.interrupted",
]


@pytest.mark.slow
def test_the_stop_button_of_a_notebook_gives_the_run_so_far() -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    cells = [nbformat.v4.new_code_cell(cell) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    root = {"metadata": {"path": str(Path(__file__).parents[2])}}
    nbclient.NotebookClient(notebook, timeout=120, resources=root).execute()
    assert all(cell.execution_count for cell in notebook.cells)
