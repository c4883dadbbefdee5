"""The folder of a sweep: who may write it, what is taken away, and attempts that were killed."""

import csv
import io
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from pyro_decomp.errors import RunError
from pyro_decomp.sweep import read_table, sweep
from pyro_decomp.sweep.contents import damages
from pyro_decomp.sweep.folder import (
    NAME,
    SweepFolder,
    as_csv,
    attempt,
    check_extends,
    describe,
    read_description,
)
from pyro_decomp.sweep.grid import make_grid
from pyro_decomp.sweep.table import rows_of
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run_files.checked_files import FORMAT, write_checked
from tests.sweep.grids import write_sweep

SOURCE = "def experiment(alpha: float = 0.0, beta: float = 1.0, name: str = 'a'): ..."
VALUES: dict[str, list[Any]] = {"alpha": [0.0, 1.0], "name": ["a", "b"]}


def description(
    values: dict[str, list[Any]] = VALUES, seeds: Any = (1, 2), source: str = SOURCE
) -> dict[str, Any]:
    file = ExperimentFile.from_source(source, Path("trial.py"))
    return describe(file, make_grid(file, values, seeds), "cpu", [])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The folder of a sweep with one member that is done."""
    folder = SweepFolder(tmp_path / "out")
    folder.begin(description(), force=False)
    folder.run_path("alpha=0,name=a,seed=1").mkdir()
    (folder.run_path("alpha=0,name=a,seed=1") / "config.json").touch()
    for path in (folder.journal_path, folder.csv_path, folder.parquet_path):
        path.write_text("x\n")
    return folder.path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": {"../alpha": [1]}}, "expected names of parameters, got '../alpha'"),
        ({"defaults": {"a/b": 1}}, "expected names of parameters, got 'a/b'"),
        (
            {"values": {name: [0] * 1000 for name in "abcdef"}},
            "at most 100000 members, got 2000000000000000000",
        ),
    ],
)
def test_a_description_that_no_sweep_has_is_refused(
    out: Path, changes: dict[str, Any], message: str
) -> None:
    write_checked(out / NAME, description() | changes)
    for read in (read_description, read_table):
        with pytest.raises(RunError, match=message):
            read(out)
    with pytest.raises(RunError, match=message):
        SweepFolder(out).begin(description(), force=True)


def test_a_sweep_over_values_that_are_not_finite_goes_on(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "out")
    source = SOURCE.replace("0.0", "-1e999")
    infinite = description({"beta": [1.0, float("inf")]}, source=source)
    folder.begin(infinite, force=False)
    before = read_description(folder.path)
    assert before == infinite
    assert before["defaults"]["alpha"] == -float("inf")
    check_extends(folder.path, before, infinite)


def contents(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def only_other_files(out: Path) -> None:
    (out / NAME).unlink()


def spoil(out: Path) -> None:
    (out / NAME).write_text("{")


def be_no_sweep(out: Path) -> None:
    (out / NAME).write_text("{}")


def nothing(out: Path) -> None:
    pass


MORE = {"alpha": [0.0, 1.0, 2.0], "name": ["b", "a"]}
RESUME, FORCE = {"resume": True, "force": False}, {"resume": False, "force": True}
NEITHER, BOTH = {"resume": False, "force": False}, {"resume": True, "force": True}


@pytest.mark.parametrize(
    ("arrange", "now", "options", "message"),
    [
        (nothing, description(), NEITHER, "out already holds a sweep: go on with it with --res"),
        (nothing, description(), BOTH, "expected one of --resume and --force, got both"),
        (nothing, description(seeds=(1,)), RESUME, "started with seeds 1,2; give 2 too, or sweep"),
        (
            nothing,
            description({"alpha": [1.0], "name": ["a", "b"]}),
            RESUME,
            "cannot be resumed: it was started with alpha=0.0,1.0; give 0.0 too",
        ),
        (
            nothing,
            description({"alpha": [0.0, 1.0], "name": ["a"]}),
            RESUME,
            "started with name=a,b; give b too",
        ),
        (
            nothing,
            description({**VALUES, "beta": [1.0]}),
            RESUME,
            "started with values of alpha, name; give values of the same",
        ),
        (nothing, description({"alpha": [0.0, 1.0]}), RESUME, "started with values of alpha, name"),
        (
            nothing,
            description(source=SOURCE + "\n"),
            RESUME,
            "started with a different experiment file or function; use the same",
        ),
        (only_other_files, description(), NEITHER, "out holds files but no sweep"),
        (only_other_files, description(), RESUME, "out holds files but no sweep"),
        (only_other_files, description(), FORCE, "out holds files but no sweep"),
        (spoil, description(), RESUME, r"sweep\.json: expected JSON"),
        (spoil, description(), FORCE, r"sweep\.json: expected JSON"),
        (be_no_sweep, description(), FORCE, "expected the description of a sweep"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_sentence_and_left_as_it_is(
    out: Path,
    arrange: Callable[[Path], None],
    now: dict[str, Any],
    options: dict[str, bool],
    message: str,
) -> None:
    arrange(out)
    before = contents(out)
    with pytest.raises(RunError, match=message) as caught:
        SweepFolder(out).check(now, **options)
    assert "\n" not in str(caught.value)
    assert contents(out) == before


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(RunError, match="expected a folder for the sweep, got a file"):
        SweepFolder(tmp_path / "out").check(description(), **NEITHER)


@pytest.mark.parametrize("now", [description(), description(MORE), description(seeds=(3, 2, 1))])
def test_values_and_seeds_may_be_added(out: Path, now: dict[str, Any]) -> None:
    SweepFolder(out).check(now, **RESUME)


def test_what_a_killed_beginning_leaves_is_no_sweep_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out" / "members").mkdir(parents=True)
    (tmp_path / "out" / f".{NAME}.0123456789ab.tmp").touch()
    SweepFolder(tmp_path / "out").check(description(), **NEITHER)
    (tmp_path / "out" / "members" / "mine").mkdir()
    with pytest.raises(RunError, match="holds files but no sweep"):
        SweepFolder(tmp_path / "out").check(description(), **NEITHER)


def test_force_takes_the_sweep_before_away_and_nothing_else(out: Path) -> None:
    (out / "plots").mkdir()
    mine = [out / "notes.txt", out / "members" / "mine.txt", out / "plots" / "mine.png"]
    for path in (*mine, out / "plots" / "boxes.png"):
        path.touch()
    SweepFolder(out).begin(description({"beta": [1.0]}), force=True)
    assert contents(out) == {NAME, *(str(path.relative_to(out)) for path in mine)}
    assert json.loads((out / NAME).read_text())["values"] == {"beta": [1.0]}


def test_the_table_as_text_and_as_parquet(out: Path) -> None:
    table = pa.table(
        {"a": [1.5, None], "b": ["x,y", "ä"], "c": [True, False], "d": [[1, 2], []], "e": [1, 2]}
    )
    SweepFolder(out).write_tables(table)
    assert pyarrow.parquet.read_table(out / "table.parquet").equals(table)
    assert (out / "table.csv").read_bytes() == as_csv(table)
    rows = list(csv.reader(io.StringIO(as_csv(table).decode())))
    assert rows == [
        ["a", "b", "c", "d", "e"],
        ["1.5", "x,y", "true", "[1, 2]", "1"],
        ["", "ä", "false", "[]", "2"],
    ]


def test_members_are_kept_out_after_two_deaths_without_progress(tmp_path: Path) -> None:
    marker = tmp_path / ".running"
    attempts = [attempt(marker, 3) for _ in range(4)]  # kept: what is let go of ends
    assert [one.__enter__() for one in attempts] == [False, False, True, True]


def test_progress_begins_the_count_anew(tmp_path: Path) -> None:
    marker = tmp_path / ".running"
    attempts = [attempt(marker, records) for records in (3, 3, 4, 4, 4)]
    assert [one.__enter__() for one in attempts] == [False, False, False, True, True]


def test_an_attempt_that_ends_leaves_nothing(tmp_path: Path) -> None:
    marker = tmp_path / ".running"
    for _ in range(4):
        with attempt(marker, 3) as is_dangerous:
            assert marker.exists()
        assert not is_dangerous
        assert not marker.exists()


def test_a_marker_that_was_cut_off_is_one_death(tmp_path: Path) -> None:
    marker = tmp_path / ".running"
    marker.write_text("{")
    first, second = attempt(marker, 0), attempt(marker, 0)
    assert [first.__enter__(), second.__enter__()] == [False, True]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"values": {"alpha": 3}}, "values: expected an object, each a list, got"),
        ({"seeds": [0, -1]}, "seeds: expected a list, each a whole number from 0, got"),
        ({"defaults": []}, r"defaults: expected an object, got \[\]"),
        ({"source": None}, "source: expected text, got null"),
        ({"format": FORMAT + 1}, "was written by a newer pyro-decomp"),
    ],
)
def test_a_sweep_of_other_types_or_of_the_future_is_named(
    out: Path, changes: dict[str, Any], message: str
) -> None:
    write_checked(out / NAME, description() | changes)
    with pytest.raises(RunError, match=rf"sweep\.json:? {message}"):
        read_description(out)


@pytest.mark.full
@pytest.mark.parametrize("name", ["sweep.json", "members.jsonl"])
def test_a_changed_byte_of_a_sweep_is_named_or_harmless(tmp_path: Path, name: str) -> None:
    write_sweep(tmp_path / "out", VALUES, 2, {"alpha=0,name=a,seed=0": {"elbo": -1.25}})
    path, generator, named = tmp_path / "out" / name, random.Random(0), 0
    whole, expected = path.read_bytes(), read_table(tmp_path / "out")
    assert damages(tmp_path / "out") == []
    for _ in range(50):
        changed = bytearray(whole)
        changed[generator.randrange(len(whole))] ^= 1 << generator.randrange(8)
        path.write_bytes(changed)
        if found := damages(tmp_path / "out"):
            assert str(path) in found[0]
            named += 1
        elif b"\n" in changed[-1:]:  # else it is a line that a killed writer left
            assert read_table(tmp_path / "out").equals(expected)
    assert named > 25


@pytest.mark.full
def test_a_sweep_of_an_older_version_is_read_and_goes_on(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parent / "older", tmp_path / "out")
    assert damages(tmp_path / "out") == []
    before = read_table(tmp_path / "out")
    assert before["status"].to_pylist() == ["finished"]
    (run,) = rows_of(tmp_path / "out" / "members")
    assert (run.terms["elbo"], run.steps) == (before["elbo"].to_pylist()[0], 8)
    source = ExperimentFile.from_source(
        read_description(tmp_path / "out")["source"], Path("older.py")
    )
    values = {"limit": [float("inf")]}
    after = sweep(source, values, 2, out=tmp_path / "out", resume=True, num_workers=1)
    assert after["status"].to_pylist() == ["finished"] * 2
    assert after.slice(0, 1).equals(before)
    assert damages(tmp_path / "out") == []
    path = tmp_path / "out" / "members" / "limit=inf,seed=1" / "history.csv"
    path.write_text(path.read_text().replace("-3", "-4", 1))
    (found,) = damages(tmp_path / "out")
    assert str(path) in found
