"""The source that a run keeps is executed if it is the recorded one, and nobody else's."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from pyro_decomp import load
from pyro_decomp.cli import main
from pyro_decomp.errors import RunError
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run import untrained
from pyro_decomp.training.run_files import trust
from pyro_decomp.training.run_files.trust import check_source, strangers
from tests.training.edited import of_source

FIXTURE = Path(__file__).parents[2] / "fixtures" / "run_folder"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="files have no owner there")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run whose source says so when it is executed, and imports from the folder `modules`."""
    folder = tmp_path / "run"
    shutil.copytree(FIXTURE, folder)
    (tmp_path / "modules").mkdir()
    record = json.loads((folder / "config.json").read_text())
    source = f"{record['source']}\nopen({str(tmp_path / 'executed')!r}, 'w').close()\n"
    record |= of_source(source)
    record |= {"source_file": str(tmp_path / "modules" / "pinwheel.py")}
    (folder / "config.json").write_text(json.dumps(record))
    return folder


def record_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "config.json").read_text())
    return found


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "user", lambda: os.geteuid() + 1)


@pytest.mark.full
def test_one_s_own_run_needs_no_word(run: Path) -> None:
    assert list(strangers(run, record_of(run))) == []
    load(run)
    assert (run.parent / "executed").exists()


@pytest.mark.full
@pytest.mark.usefixtures("stranger")
def test_a_stranger_s_run_is_executed_when_the_user_says_so(run: Path) -> None:
    how = r"config\.json of \w+ .*--source`, then give --trust, or trust=True in Python"
    with pytest.raises(RunError, match=how):
        load(run)
    assert not (run.parent / "executed").exists()
    assert load(run, trust=True).step == 5
    assert (run.parent / "executed").exists()


@pytest.mark.full(but=["inspect"])
@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("command", ["evaluate", "plot", "inspect"])
def test_commands_ask_for_a_word(
    command: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, str(run)])
    assert ended.value.code == 1
    _, err = capsys.readouterr()
    assert len(err.splitlines()) == 1
    assert "--trust" in err
    assert not (run.parent / "executed").exists()


@pytest.mark.full
@pytest.mark.usefixtures("stranger")
def test_the_run_before_it_was_trained_is_of_the_same_trust(run: Path) -> None:
    found = load(run, trust=True)
    assert untrained(found) is not None
    found.folder.is_trusted = False
    changed = record_of(run)
    changed |= of_source(changed["source"] + "\n")
    (run / "config.json").write_text(json.dumps(changed))
    with pytest.raises(RunError, match="expected a run that only"):
        untrained(found)


@pytest.mark.parametrize("trusted", [False, True])
def test_another_text_than_the_recorded_one_is_never_executed(run: Path, trusted: bool) -> None:
    changed = record_of(run)
    changed["source"] += "\n"
    (run / "config.json").write_text(json.dumps(changed))
    with pytest.raises(RunError, match=r"config\.json: source: expected the text whose SHA-256"):
        load(run, trust=trusted)
    assert not (run.parent / "executed").exists()


@pytest.mark.usefixtures("stranger")
def test_what_this_process_ran_before_it_may_run_again(run: Path) -> None:
    record = record_of(run)
    elsewhere = record | {"source_file": "/elsewhere/pinwheel.py"}
    ExperimentFile.from_source(record["source"], record["source_file"])
    assert ExperimentFile.from_record(record, run) is not None
    with pytest.raises(RunError, match="expected a run that only"):
        ExperimentFile.from_record(elsewhere, run)


@pytest.mark.parametrize(
    "name", ["helper.py", "package", "package/part.py", "__pycache__", "package/__pycache__/a.pyc"]
)
def test_modules_beside_the_source_are_one_s_own_too(name: str, run: Path) -> None:
    modules = run.parent / "modules"
    (modules / "data").mkdir()
    (modules / "data").chmod(0o777)  # there is nothing to import from it
    for each in ("helper.py", "package/part.py", "package/__pycache__/a.pyc", "__pycache__/a.pyc"):
        (modules / each).parent.mkdir(parents=True, exist_ok=True)
        (modules / each).touch()
    (modules / "package" / "again").symlink_to(modules / "package")
    check_source(run, record_of(run))
    (modules / name).chmod(0o777)
    with pytest.raises(RunError, match=f"modules/{name}, which every user may write"):
        check_source(run, record_of(run))


def test_the_text_that_is_executed_is_the_one_that_was_looked_at(run: Path) -> None:
    read_before = record_of(run)
    read_before |= of_source(read_before["source"] + "\n")
    with pytest.raises(RunError, match=r"config\.json, which changed meanwhile"):
        check_source(run, read_before)


@pytest.mark.parametrize("name", ["run", "run/config.json", "run/source.pt", "modules", "."])
def test_what_every_user_may_write_is_not_one_s_own(name: str, run: Path) -> None:
    (run / "source.pt").touch()
    path = run.parent / name
    path.chmod(path.stat().st_mode | 0o002)
    with pytest.raises(RunError, match="every user may write"):
        check_source(run, record_of(run))


def test_a_folder_above_in_which_each_user_has_files_of_their_own_is_fine(run: Path) -> None:
    run.parent.chmod(0o1777)  # as /tmp
    check_source(run, record_of(run))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs to be root")
@pytest.mark.parametrize(
    ("name", "is_refused"),
    [("torch.py", True), ("torch", True), ("torch.txt", False), ("../run/source.pt", True)],
)
def test_what_others_placed_to_be_imported_is_seen(name: str, is_refused: bool, run: Path) -> None:
    modules = run.parent / "modules"
    modules.chmod(0o1777)
    (modules / name).touch()
    os.chown(modules / name, 65534, 65534)
    assert bool(list(strangers(run, record_of(run)))) == is_refused


def test_where_users_have_no_numbers_files_have_no_strangers(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "user", lambda: None)
    (run / "config.json").chmod(0o666)
    check_source(run, record_of(run))


def test_a_file_that_is_given_needs_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["inspect", "file.py", "--trust"])
    assert ended.value.code == 2
    assert "--trust: expected a run folder" in capsys.readouterr().err
