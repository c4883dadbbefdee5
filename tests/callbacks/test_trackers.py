"""What is handed on to a file, TensorBoard and MLflow, and what is said where they are missing."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest

from pyro_decomp.callbacks import CSVLog, GradientNorms, HeldOut, MLflow, TensorBoard, trackers
from pyro_decomp.errors import ExperimentError
from pyro_decomp.training.callbacks import Training
from pyro_decomp.training.interruption import Interrupted
from tests.callbacks.test_protocol import EPOCHS, STEPS, All, interrupt_at, trained

pytestmark = pytest.mark.full

RECORDERS = (HeldOut(2), GradientNorms())  # told before a tracker, wherever they stand


def numbers(history: dict[str, Any]) -> set[tuple[int, str, float]]:
    """All that there is in a history."""
    return {
        (int(step), name, value)
        for name, column in history.items()
        for step, value in zip(history["step"], column, strict=True)
        if name not in ("step", "epoch") and not math.isnan(value)
    }


def written(path: Path) -> list[tuple[int, str, float]]:
    with path.open(newline="") as file:
        assert file.readline() == "step,epoch,name,value\n"
        lines = list(csv.reader(file))
    assert all(int(line[1]) == (int(line[0]) - 1) // (STEPS // EPOCHS) + 1 for line in lines)
    return [(int(step), name, float(value)) for step, _, name, value in lines]


@pytest.mark.fast
def test_a_file_has_every_number_once(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", CSVLog(), *RECORDERS)
    lines = written(run.path / "log.csv")
    assert set(lines) == numbers(run.history)
    assert len(lines) == len(set(lines))


@pytest.mark.parametrize("event", ["step", "epoch", "evaluated"])
def test_a_file_has_what_is_recorded_at_any_event(tmp_path: Path, event: str) -> None:
    def record(_: str, training: Training) -> None:
        training.record({"mine": training.step})

    run = trained(tmp_path / "run", CSVLog(), HeldOut(2), All(record, event))
    lines = written(run.path / "log.csv")
    assert set(lines) == numbers(run.history)
    assert len(lines) == len(set(lines))


@pytest.mark.filterwarnings("ignore::pyro_decomp.training.loop.ExecutionWarning")
def test_a_run_that_goes_back_writes_its_steps_anew(tmp_path: Path) -> None:
    def move(_: str, training: Training) -> None:
        training.experiment.model.__self__.scale = 1.0 if training.step < 9 else 0.5

    told = All(move, "step"), CSVLog(), HeldOut(3)
    run = trained(tmp_path / "run", *told, how="captured", batch_size=None, epochs=40)
    assert run.config["execution"]["steps"] == "eager"
    with (run.path / "log.csv").open(newline="") as file:
        lines = [
            (int(row["step"]), row["name"], float(row["value"])) for row in csv.DictReader(file)
        ]
    assert set(lines) == numbers(run.history)
    assert len(lines) == len(set(lines))


def test_of_a_long_run_there_are_some_rows_and_all_ends_of_epochs_and_evaluations(
    tmp_path: Path,
) -> None:
    run = trained(tmp_path / "run", CSVLog(tmp_path / "mine.csv", every=0.4), HeldOut(0.1))
    lines = written(tmp_path / "mine.csv")
    assert {step for step, name, _ in lines if name == "elbo"} == {1, 3, 6, 9, 11, 12}
    assert {step for step, name, _ in lines if name == "test_elbo"} == {2, 4, 6, 8, 10, 12}
    assert set(lines) <= numbers(run.history)


def test_a_resumed_run_goes_on_in_its_file(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", CSVLog(), *RECORDERS)
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", CSVLog(), *RECORDERS, interrupt_at(5))
    with (tmp_path / "run" / "log.csv").open("a") as file:
        file.write("6,2,elbo,1.0\n7,3,el")  # of steps that were lost
    run = trained(tmp_path / "run", CSVLog(), *RECORDERS, resume=True)
    logs = [(each.path / "log.csv").read_text() for each in (whole, run)]
    assert logs[0] == logs[1]


@pytest.mark.parametrize(("kind", "package"), [(TensorBoard, "tensorboard"), (MLflow, "mlflow")])
def test_a_missing_package_is_said_before_a_folder_is_made(
    tmp_path: Path, kind: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    message = rf"expected the package {package}, .* pip install 'pyro-decomp\[{package}\]'"
    with pytest.raises(ExperimentError, match=message):
        trained(tmp_path / "run", kind())
    assert not (tmp_path / "run").exists()


def test_tensorboard_has_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(Interrupted):
        trained(tmp_path / "run", TensorBoard(), *RECORDERS, interrupt_at(5))
    run = trained(tmp_path / "run", TensorBoard(), *RECORDERS, resume=True)
    found = EventAccumulator(str(run.path / "tensorboard"))
    found.Reload()
    points = {(e.step, name) for name in found.Tags()["scalars"] for e in found.Scalars(name)}
    assert points == {(step, name) for step, name, _ in numbers(run.history)}
    assert found.Scalars("elbo")[-1].value == pytest.approx(run.history["elbo"][-1], rel=1e-6)


@pytest.mark.filterwarnings("default")  # of its own packages
def test_mlflow_has_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with pytest.raises(Interrupted):
        trained(tmp_path / "run", MLflow(uri), *RECORDERS, interrupt_at(5))
    run = trained(tmp_path / "run", MLflow(uri), *RECORDERS, resume=True)
    client = MlflowClient(uri)
    group = client.get_experiment_by_name("pyro-decomp")
    (kept,) = client.search_runs([group.experiment_id])
    assert kept.info.status == "FINISHED"
    assert kept.data.params["seed"] == "2"
    points = client.get_metric_history(kept.info.run_id, "elbo")
    assert [point.step for point in points] == list(range(1, STEPS + 1))
    assert points[-1].value == pytest.approx(run.history["elbo"][-1])
