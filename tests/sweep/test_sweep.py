"""Whole sweeps: what is trained, tabulated, added, measured and marked."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from pyro_decomp import Experiment, evaluate, load, train
from pyro_decomp.errors import DataError, ExperimentError, RunError
from pyro_decomp.sweep import Plan, SweepProgress, read_table, sweep
from pyro_decomp.sweep.ensemble.members import Member, WorkItem
from pyro_decomp.sweep.folder import as_csv
from pyro_decomp.sweep.jobs import Job
from pyro_decomp.sweep.running import LITTLE_WORK, is_worth_no_workers
from pyro_decomp.training.experiment_file import ExperimentFile
from tests.sweep.files import SOURCE

OPTIONS: dict[str, Any] = {"out": "out", "way": "processes", "num_workers": 1}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("trial.py").write_text(SOURCE)


def rows(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["member"]: row for row in table.to_pylist()}


def timeless(table: pa.Table) -> bytes:
    """What must not depend on how often a sweep was stopped."""
    return as_csv(table.drop_columns(["seconds"]))


WIDTH = 2
SHIFT = torch.full((400, 1), 0.5)


def of_this_file(beta: float = 1.0, epochs: int = 3) -> Experiment:
    """Reaches a value and a tensor of this file."""
    experiment: Experiment = ExperimentFile.read("trial.py").build({"beta": beta, "epochs": epochs})
    return dataclasses.replace(experiment, data=SHIFT * WIDTH)


@pytest.mark.full
@pytest.mark.parametrize("way", ["batched", "processes"])
def test_a_function_is_swept_from_its_text(way: str) -> None:
    table = sweep(of_this_file, {"beta": [0.5, 2.0]}, 2, **{**OPTIONS, "way": way})
    assert table["status"].to_pylist() == ["finished"] * 4
    member = Path("out/members/beta=0.5,seed=1")
    assert (member / "source.pt").samefile("out/source.pt")
    run = load(member)
    single = train(of_this_file, "single", seed=1, arguments={"beta": 0.5})
    assert run.experiment.elbo.beta == 0.5
    torch.testing.assert_close(run.data[:][0], SHIFT * WIDTH)
    for name, parameter in run.state.parameters.items():
        torch.testing.assert_close(parameter, single.state.parameters[name])
    again = sweep(of_this_file, {"beta": [0.5, 2.0]}, 3, **OPTIONS, resume=True)
    assert len(again) == 6
    with pytest.raises(RunError, match="a different experiment file or function"):
        sweep("trial.py", {"beta": [0.5, 2.0]}, 3, **OPTIONS, resume=True)


def test_a_function_that_no_text_can_make_is_not_swept() -> None:
    handle = Path("trial.py").open()  # noqa: SIM115

    def make() -> Experiment:
        handle.read()
        return of_this_file()

    with pytest.raises(ExperimentError, match=r"got `handle`, a TextIOWrapper \(make it inside"):
        sweep(make, {}, **OPTIONS)
    handle.close()


def test_every_member_is_the_run_that_train_makes() -> None:
    table = sweep("trial.py", {"beta": [0.5, 2.0]}, 2, **OPTIONS)
    assert len(list(Path("out/members").iterdir())) == table.num_rows == 4
    for row in table.to_pylist():
        source = ExperimentFile.read("trial.py", seed=row["seed"])
        arguments = {"beta": row["beta"]}
        run = train(source, "alone", seed=row["seed"], force=True, arguments=arguments)
        member = Path("out/members") / row["member"]
        for name in ("history.csv", "checkpoint.pt"):
            assert (member / name).read_bytes() == Path("alone", name).read_bytes()
        config = json.loads((member / "config.json").read_text())
        assert (config["arguments"], config["seed"]) == (arguments, row["seed"])
        for term in ("objective", "elbo", "log_likelihood", "kl"):
            assert row[term] == run.history[term][-1]
        assert (row["status"], row["message"], row["steps"]) == ("finished", "", 3)
        assert row["seconds"] > 0


def test_the_table_is_typed_and_the_same_in_every_form() -> None:
    table = sweep("trial.py", {"hidden": [(1,), (2, 3)], "fail": [None]}, (5,), **OPTIONS)
    assert table.column_names[:12] == [
        "member", "beta", "lr", "hidden", "epochs", "fail", "seed", "status", "message", "steps",
        "seconds", "way",
    ]  # fmt: skip
    types = {name: str(table.schema.field(name).type) for name in table.column_names}
    assert types["beta"] == types["elbo"] == types["seconds"] == "double"
    assert types["epochs"] == types["seed"] == types["steps"] == "int64"
    assert types["member"] == types["status"] == "string"
    assert types["hidden"].startswith("list<")
    assert table["hidden"].to_pylist() == [[1], [2, 3]]
    assert pyarrow.parquet.read_table("out/table.parquet").equals(table)
    assert read_table("out").equals(table)
    assert Path("out/table.csv").read_bytes() == as_csv(table)


def test_arguments_and_terms_of_one_name_have_columns_of_their_own() -> None:
    text = SOURCE.replace("fail: str | None = None,", "fail: str | None = None, kl: int = 7, "
                          "status: str = 'mine',")  # fmt: skip
    Path("trial.py").write_text(text)
    (row,) = sweep("trial.py", {}, **OPTIONS).to_pylist()
    assert (row["kl"], row["argument.status"], row["status"]) == (7, "mine", "finished")
    assert row["last.kl"] == pytest.approx(row["log_likelihood"] - row["elbo"])


def test_failing_members_are_marked_and_the_others_go_on() -> None:
    Path("trial.py").write_text(
        SOURCE.replace("network = ", 'lr = 1e30 if fail == "diverge" else lr\n    network = ')
    )
    reports: list[SweepProgress] = []
    fails = [None, "build", "diverge"]
    table = sweep("trial.py", {"fail": fails}, 2, report=reports.append, **OPTIONS)
    found = rows(table)
    assert [row["status"] for row in found.values()] == [
        "finished", "finished", "failed", "failed", "not finite", "not finite",
    ]  # fmt: skip
    assert "raised RuntimeError: no way" in found["fail=build,seed=0"]["message"]
    assert found["fail=build,seed=0"]["elbo"] is None
    diverged = found["fail=diverge,seed=1"]
    assert diverged["message"].startswith("step ")
    assert 0 < diverged["steps"] < 3
    assert diverged["elbo"] is None
    assert load("out/members/fail=diverge,seed=1").step <= diverged["steps"]
    assert (reports[-1].num_ended, reports[-1].num_failed, reports[-1].fraction) == (6, 4, 1.0)


@pytest.mark.full
def test_values_seeds_and_metrics_are_added_and_nothing_is_repeated() -> None:
    plans: list[Plan] = []
    options = {**OPTIONS, "resume": True, "started": plans.append}
    first = rows(sweep("trial.py", {"beta": [0.5]}, 1, metrics=["elbo"], **options))
    names = ["beta=0.5,seed=0", "beta=0.5,seed=1", "beta=2,seed=0", "beta=2,seed=1"]
    checkpoint = Path("out/members", names[0], "checkpoint.pt")
    before = checkpoint.stat().st_mtime_ns
    second = rows(sweep("trial.py", {"beta": [0.5, 2.0]}, 2, **options))
    assert list(second) == names
    assert second[names[0]] == first[names[0]]
    assert second[names[3]]["train.elbo"] is not None
    assert [item.members[0].name for item in plans[-1].items] == names[1:]
    assert plans[-1].num_done == 1
    third = rows(sweep("trial.py", {"beta": [0.5, 2.0]}, 2, metrics=["active_units"], **options))
    assert (plans[-1].num_done, plans[-1].num_to_measure, list(plans[-1].items)) == (0, 4, [])
    assert checkpoint.stat().st_mtime_ns == before
    for name in names:
        kept = {key: third[name][key] for key in second[name]}
        assert kept == second[name]
        assert third[name]["train.active_units"] in (0.0, 1.0)
    with pytest.raises(RunError, match="started with seeds 0,1; give 1 too"):
        sweep("trial.py", {"beta": [0.5, 2.0]}, 1, **options)


def test_a_finished_run_that_was_not_recorded_is_not_trained_again() -> None:
    table = sweep("trial.py", {"beta": [0.5, 2.0]}, **OPTIONS)
    lines = Path("out/members.jsonl").read_text().splitlines(keepends=True)
    Path("out/members.jsonl").write_text(lines[0])  # killed just before the second
    Path("out/members/beta=2,seed=0/config.json").touch()
    before = Path("out/members/beta=2,seed=0/checkpoint.pt").stat().st_mtime_ns
    plans: list[Plan] = []
    values = {"beta": [0.5, 2.0]}
    again = sweep("trial.py", values, resume=True, started=plans.append, **OPTIONS)
    assert (plans[0].num_done, plans[0].items) == (2, [])
    assert Path("out/members/beta=2,seed=0/checkpoint.pt").stat().st_mtime_ns == before
    assert timeless(again) == timeless(table)
    Path("out/members.jsonl").write_text(lines[0])
    half = load("out/members/beta=2,seed=0")
    half.folder.write_checkpoint(
        half.folder.read_checkpoint() | {"step": 2},
        {name: list(column) for name, column in half.history.items()},
    )
    sweep("trial.py", values, resume=True, started=plans.append, **OPTIONS)
    assert [item.members[0].name for item in plans[1].items] == ["beta=2,seed=0"]


def test_what_was_measured_is_what_evaluate_measures() -> None:
    (row,) = sweep("trial.py", {}, metrics=["elbo", "active_units"], **OPTIONS).to_pylist()
    run = load("out/members/seed=0")
    expected = evaluate(run, only=["elbo", "active_units"])["train"]
    for name in ("elbo", "log_likelihood", "kl"):
        assert row[f"train.{name}"] == expected[name]
    score = expected["scores"]["active_units"]
    assert row["train.active_units"] == score["value"]
    assert [row["train.active_units.low"], row["train.active_units.high"]] == score["interval"]
    written = json.loads(Path("out/members/seed=0/metrics.json").read_text())
    assert written["train"]["elbo"] == expected["elbo"]


def test_what_cannot_be_measured_is_told_and_the_member_stays_finished() -> None:
    (row,) = sweep("trial.py", {}, metrics=["mig"], **OPTIONS).to_pylist()
    assert row["status"] == "finished"
    assert row["message"].startswith("not measured: ")
    assert np.isfinite(row["elbo"])


def test_a_sweep_is_kept_unless_told_otherwise() -> None:
    table = sweep("trial.py", {"beta": [0.5]}, 1, **OPTIONS)
    with pytest.raises(RunError, match="already holds a sweep"):
        sweep("trial.py", {"beta": [2.0]}, 1, **OPTIONS)
    assert read_table("out").equals(table)
    again = sweep("trial.py", {"beta": [2.0]}, 1, force=True, **OPTIONS)
    assert again["member"].to_pylist() == ["beta=2,seed=0"]
    assert [path.name for path in Path("out/members").iterdir()] == ["beta=2,seed=0"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_workers": 0}, ExperimentError, "num_workers: expected a positive whole number"),
        ({"metrics": ["mug"]}, DataError, "only: expected names among .* got 'mug'"),
        ({"values": {"beta": ["x"]}}, ExperimentError, "`beta`: expected float, got 'x'"),
        ({"file": "absent.py"}, ExperimentError, "expected a Python file, found no such file"),
    ],
)
def test_errors_begin_no_sweep(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    usual: dict[str, Any] = {"file": "trial.py", "values": {"beta": [1.0]}, **OPTIONS}
    with pytest.raises(error, match=message):
        sweep(**{**usual, **changes})
    assert not Path("out").exists()


@pytest.mark.full
def test_members_that_train_together_have_rows_and_runs_like_others() -> None:
    path = Path(__file__).parents[2] / "examples" / "pinwheel_mixture.py"
    values = {"beta": [0.5, 2.0], "epochs": [3], "hidden": [5]}
    options = {**OPTIONS, "metrics": ["elbo"]}
    together = sweep(path, values, 2, **{**options, "way": "batched"})
    alone = sweep(path, values, 2, **{**options, "out": "alone"})
    assert set(together["way"].to_pylist()) == {"batched"}
    assert set(alone["way"].to_pylist()) == {"single"}
    assert together.column_names == alone.column_names
    for column in ("member", "beta", "seed", "status", "steps"):
        assert together[column].to_pylist() == alone[column].to_pylist()
    for column in ("objective", "elbo", "kl", "train.elbo", "test.log_likelihood"):
        np.testing.assert_allclose(together[column], alone[column], rtol=1e-4)


@pytest.mark.parametrize(
    ("num_jobs", "steps", "elements", "metrics", "is_little"),
    [
        (1, 10**6, 10**6, ["elbo"], True),
        (1, 0, 0, [], True),
        (2, 1024, 1024, [], True),
        (2, 1024, 1, [], True),
        (2, 1025, 1, [], False),
        (2, 1024, 1025, [], False),
        (2, 4, 2**18, [], True),
        (2, 1, 1, ["elbo"], False),
        (2, 0, 1, [], False),
        (2, 1, 0, [], False),
    ],
)
def test_little_work_is_not_worth_workers(
    num_jobs: int, steps: int, elements: int, metrics: list[str], is_little: bool
) -> None:
    assert LITTLE_WORK == 4 * 1024 * 1024
    members = (Member("a", {}, 0), Member("b", {}, 0))
    item = WorkItem(members, is_batched=True, why="", steps=steps, elements=elements)
    assert is_worth_no_workers([Job(item)] * num_jobs, metrics) == is_little
