"""Rows of sweeps and of run folders."""

from pathlib import Path

import pytest

from pyro_decomp.errors import RunError
from pyro_decomp.sweep import read_table
from pyro_decomp.sweep.table import defaults_in, last_terms, rows_of
from tests.sweep.grids import write_run, write_sweep

HISTORY = "step,epoch,objective,elbo,kl\n1,1,-9,-9,\n3,3,-2.5,-2.25,0.1\n"


def test_every_member_has_a_row_whatever_became_of_it(tmp_path: Path) -> None:
    terms = {"beta=0.5,seed=1": {"elbo": -1.0}, "beta=2,seed=0": "not finite"}
    write_sweep(tmp_path / "out", {"beta": [0.5, 2.0]}, 2, terms)
    rows = rows_of(tmp_path / "out")
    assert [(row.member, row.status) for row in rows] == [
        ("beta=0.5,seed=0", "unfinished"),
        ("beta=0.5,seed=1", "finished"),
        ("beta=2,seed=0", "not finite"),
        ("beta=2,seed=1", "unfinished"),
    ]
    assert rows[0].arguments == {"beta": 0.5, "alpha": 0.0, "name": "a", "n": 3}
    assert rows[1].terms == {"elbo": -1.0}
    assert rows[2].message == "no way"
    table = read_table(tmp_path / "out")
    assert table["elbo"].to_pylist() == [None, -1.0, None, None]
    assert table["steps"].to_pylist() == [None, 3, 1, None]


def test_a_run_folder_has_its_arguments_and_the_literal_defaults(tmp_path: Path) -> None:
    metrics = {"test": {"elbo": -1.0, "left_out": {}, "scores": {}}}
    write_run(tmp_path / "run", {"beta": 2.0}, 7, HISTORY, metrics=metrics)
    (row,) = rows_of(tmp_path / "run")
    assert (row.file, row.seed, row.status, row.steps) == ("trial", 7, "finished", 3)
    assert row.arguments == {"beta": 2.0, "alpha": 0.0, "name": "a", "n": 3}
    assert row.terms == {"objective": -2.5, "elbo": -2.25, "kl": 0.1}
    assert row.metrics == {"test.elbo": -1.0}
    assert (row.value("elbo"), row.value("test.elbo"), row.value("mig")) == (-2.25, -1.0, None)


def test_a_run_that_has_not_ended_has_no_terms(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {}, 0, HISTORY.rpartition("3,3")[0], source=None)
    (row,) = rows_of(tmp_path / "run")
    assert (row.status, row.terms, row.steps) == ("unfinished", {}, 1)
    assert row.arguments == {}


def test_folders_of_runs_and_sweeps_are_gone_through(tmp_path: Path) -> None:
    write_run(tmp_path / "b" / "deep", {}, 0, HISTORY)
    write_run(tmp_path / "a", {}, 1, HISTORY)
    write_sweep(tmp_path / "c", {}, 1, {"seed=0": {}})
    (tmp_path / "empty").mkdir()
    assert [row.member for row in rows_of(tmp_path)] == ["a", "deep", "seed=0"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", "expected JSON"),
        ("config.json", "{}", "expected the configuration of a run, found no"),
        ("history.csv", "step,epoch\n1\n", "expected a table of numbers"),
        ("history.csv", "step,elbo\n1,x\n", "expected a table of numbers"),
        ("metrics.json", "{", "expected JSON"),
        ("metrics.json", '{"train": 3}', "expected what was measured"),
    ],
)
def test_a_run_that_cannot_be_read_is_told(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    write_run(tmp_path / "run", {}, 0, HISTORY)
    (tmp_path / "run" / name).write_text(content)
    with pytest.raises(RunError, match=rf"{name}: {message}"):
        rows_of(tmp_path)


@pytest.mark.parametrize("place", ["absent", "empty"])
def test_where_there_is_no_run(tmp_path: Path, place: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="expected a sweep, a run, or a folder of runs, found none"):
        rows_of(tmp_path / place)


def test_the_last_row_of_a_history(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("step,epoch,elbo,kl\n1,1,-2,\n2,1,,inf\n")
    assert last_terms(tmp_path) == ({"elbo": None, "kl": None}, 2)
    (tmp_path / "history.csv").write_text("step\n")
    assert last_terms(tmp_path) == ({}, 0)


def test_defaults_are_read_and_nothing_is_executed() -> None:
    source = """
raise SystemExit
def other(a=1): ...
def experiment(a, b=-1, /, c=(1, 2.5), d=print, *, e, f=None, g="x" * 2): ...
"""
    assert defaults_in(source) == {"b": -1, "c": [1, 2.5], "f": None}
    assert defaults_in("(") == defaults_in("") == {}
