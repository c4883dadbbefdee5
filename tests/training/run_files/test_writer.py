"""One writer a folder: who is refused, whose place is taken, and what is left in the end."""

import json
import os
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyro_decomp import train
from pyro_decomp.analysis.metrics_file import write_metrics
from pyro_decomp.errors import RunError, intended, unfinished
from pyro_decomp.sweep import sweep
from pyro_decomp.training.callbacks import Training
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run_files import writer as lock
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.run_files.writer import BY_ITSELF, NAME, check_free, writer
from pyro_decomp.training.run_files.writer_record import Record, started
from tests.callbacks import Step
from tests.sweep.files import SOURCE
from tests.training.test_training import build

ROOT = Path(__file__).parents[3]
HELD = "is being written by process"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lives is refused without a wait."""
    monkeypatch.setattr(lock, "MOMENT", 0.0)
    monkeypatch.setattr(lock, "SETTLED", 0.0)


@pytest.fixture
def without_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system whose locks tell nothing."""
    monkeypatch.setattr(lock, "_flock", lambda file: None)


def leave(folder: Path, record: Record | None, seconds_ago: float = 0.0) -> Path:
    """What a writer leaves whose process is not there any more."""
    path = folder / NAME
    path.write_text("" if record is None else json.dumps(asdict(record)))
    then = time.time() - seconds_ago
    os.utime(path, (then, then))
    return path


def elsewhere(**changes: Any) -> Record:
    return replace(Record.own(), host="node7", machine="another", token="theirs", **changes)


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(".*"))


def test_a_second_writer_is_told_of_the_first(tmp_path: Path) -> None:
    with writer(tmp_path / "run"):
        found = Record.read(tmp_path / "run" / NAME)
        assert found is not None
        with pytest.raises(RunError) as caught, writer(tmp_path / "run"):
            pass
        assert str(caught.value) == (
            f"{tmp_path / 'run'} is being written by process {os.getpid()} on "
            f"{os.uname().nodename} since {found.since}: wait until that has ended, stop it, or "
            "choose another folder with --out"
        )
        with pytest.raises(RunError, match=HELD):
            check_free(tmp_path / "run")
        (tmp_path / "run" / "file").touch()
    assert not hidden(tmp_path / "run")
    check_free(tmp_path / "run")
    with writer(tmp_path / "run"):
        pass


def test_a_folder_that_was_made_for_nothing_goes(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="why"), writer(tmp_path / "run"):
        raise RunError("why")
    assert not (tmp_path / "run").exists()


HERE: dict[str, Callable[[Record], Record]] = {  # what a dead writer of this machine said
    "itself": lambda own: own,
    "none of its number": lambda own: replace(own, pid=2**22 + 1),
    "another of its number": lambda own: replace(own, started="17"),
}


@pytest.mark.parametrize("name", HERE)
def test_the_place_of_one_that_is_dead_is_taken(tmp_path: Path, name: str) -> None:
    leave(tmp_path, HERE[name](Record.own()))
    with warnings.catch_warnings(), writer(tmp_path):
        warnings.simplefilter("error")
        found = Record.read(tmp_path / NAME)
        assert found is not None
        assert found.pid == os.getpid()
        with pytest.raises(RunError, match=HELD), writer(tmp_path):
            pass
    assert not hidden(tmp_path)


@pytest.mark.usefixtures("without_kernel")
@pytest.mark.parametrize("name", HERE)
def test_without_the_kernel_a_process_is_told_by_number_and_start(
    tmp_path: Path, name: str
) -> None:
    leave(tmp_path, HERE[name](Record.own()))
    if name == "itself":
        with pytest.raises(RunError, match=HELD), writer(tmp_path):
            pass
    else:
        with writer(tmp_path):
            pass
        assert not hidden(tmp_path)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], None]]]:
    """What happens while a writer waits: an act for each look."""
    acts: list[Callable[[], None]] = []

    def pass_by(seconds: float) -> None:
        if seconds:
            acts.pop(0)()

    monkeypatch.setattr(lock.time, "sleep", pass_by)
    yield acts
    assert not acts


def test_one_of_another_machine_that_shows_life_is_refused(
    tmp_path: Path, meanwhile: list[Callable[[], None]]
) -> None:
    path = leave(tmp_path, elsewhere(), 100)
    meanwhile += [lambda: None, lambda: os.utime(path)]
    with (
        pytest.warns(UserWarning, match=r"was being written by process \d+ on node7 .*: waiting"),
        pytest.raises(RunError, match=r"is being written by process \d+ on node7 since"),
        writer(tmp_path),
    ):
        pass
    assert Record.read(path) == elsewhere(since=Record.read(path).since)  # type: ignore[union-attr]
    assert hidden(tmp_path) == [NAME]


@pytest.mark.parametrize("record", [elsewhere(), None])
def test_one_of_another_machine_that_falls_silent_is_waited_for(
    tmp_path: Path, meanwhile: list[Callable[[], None]], record: Record | None
) -> None:
    leave(tmp_path, record, 100)
    meanwhile += [lambda: None, lambda: None]
    clock = iter([0.0, 0.0, 0.0, 1.0, lock.SILENT + 1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock.time, "monotonic", lambda: next(clock))
        with pytest.warns(UserWarning, match="waiting up to 180"), writer(tmp_path):
            pass
    assert not hidden(tmp_path)


def test_one_of_another_machine_that_gives_it_back_is_waited_for(
    tmp_path: Path, meanwhile: list[Callable[[], None]]
) -> None:
    path = leave(tmp_path, elsewhere(), 100)
    meanwhile += [path.unlink]
    with pytest.warns(UserWarning, match="waiting"), writer(tmp_path):
        pass
    assert not hidden(tmp_path)


@pytest.mark.usefixtures("without_kernel")
def test_one_of_another_machine_that_was_silent_for_long_is_dead(tmp_path: Path) -> None:
    leave(tmp_path, elsewhere(), lock.SILENT + 60)
    with writer(tmp_path):
        pass
    assert not hidden(tmp_path)


def test_a_copy_of_a_folder_that_is_written_is_free(tmp_path: Path) -> None:
    with writer(tmp_path / "run"):
        shutil.copytree(tmp_path / "run", tmp_path / "copy")
        with writer(tmp_path / "copy"):
            pass
        assert not hidden(tmp_path / "copy")
        with pytest.raises(RunError, match=HELD):
            check_free(tmp_path / "run")


def test_on_a_disk_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    for _ in range(2):
        with writer(tmp_path), pytest.raises(RunError, match=HELD), writer(tmp_path):
            pass
        assert not hidden(tmp_path)


def test_who_was_taken_over_finds_out_and_leaves_the_other_alone(tmp_path: Path) -> None:
    with writer(tmp_path) as held:
        held.check()
        leave(tmp_path, elsewhere())
        with pytest.raises(RunError, match=r"has been taken over by process \d+ on node7"):
            held.check()
    assert hidden(tmp_path) == [NAME]


def test_a_child_neither_gives_it_back_nor_keeps_it(tmp_path: Path) -> None:
    ready, begin = os.pipe()
    told, tell = os.pipe()
    with writer(tmp_path) as held:
        child = os.fork()
        if child == 0:
            held.give_back()
            os.write(begin, b".")
            os.read(told, 1)
            os._exit(0)
        os.read(ready, 1)
        with pytest.raises(RunError, match=HELD):
            check_free(tmp_path)
        held.leave()  # as the end of this process does
        with writer(tmp_path):
            pass
    os.write(tell, b".")
    os.waitpid(child, 0)
    for end in (ready, begin, told, tell):
        os.close(end)


def test_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "RENEWED", 0.001)
    with writer(tmp_path):
        path = tmp_path / NAME
        os.utime(path, (0, 0))
        while not path.stat().st_mtime:
            time.sleep(0.001)
        before = threading.active_count()
    while threading.active_count() == before:
        time.sleep(0.001)


def test_what_dead_writers_left_goes_with_the_next(tmp_path: Path) -> None:
    ours = [unfinished(tmp_path / name) for name in ("checkpoint.pt", NAME, BY_ITSELF)]
    assert list(map(intended, ours)) == ["checkpoint.pt", NAME, BY_ITSELF]
    mine = [tmp_path / name for name in (".hidden.tmp", "a.0123456789ab.tmp", "metrics.json")]
    for path in (*ours, *mine):
        path.touch()
    with writer(tmp_path):
        assert [path.exists() for path in ours] == [False, False, True]
    with writer(tmp_path, of=BY_ITSELF):
        assert not ours[2].exists()
    assert all(path.exists() for path in mine)


def test_all_that_is_measured_at_once_is_kept(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(path=tmp_path, folder=RunFolder(tmp_path))
    part = {"checkpoint": {"step": 0}, "scores": {}, "left_out": {}, "seeds": {}}
    names = [f"number_{i}" for i in range(6)]
    threads = [
        threading.Thread(target=write_metrics, args=(run, {"train": {**part, name: 1.0}}))
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert run.folder.read_metrics()["train"].keys() >= set(names)
    assert hidden(tmp_path) == []


def test_measuring_goes_on_beside_training(tmp_path: Path) -> None:
    with writer(tmp_path), writer(tmp_path, of=BY_ITSELF):
        pass


@pytest.mark.full
def test_while_a_run_trains_no_other_does_there(tmp_path: Path) -> None:
    out = tmp_path / "run"
    refused: list[str] = []

    def intrude(progress: Training) -> None:
        for options in ({}, {"resume": True}, {"force": True}):
            before = {path.name: path.read_bytes() for path in out.iterdir()}
            with pytest.raises(RunError, match=HELD) as caught:
                train(build(), out, **options)
            refused.append(str(caught.value))
            assert {path.name: path.read_bytes() for path in out.iterdir()} == before

    run = train(build(), out, callbacks=[Step(lambda t: intrude(t) if t.step == 2 else None)])
    assert len(refused) == 3
    assert not hidden(out)
    with writer(out):
        with pytest.raises(RunError, match=HELD):  # and gets no number, though the run is finished
            train(build(), out)
        with pytest.raises(RunError, match=HELD):
            run.train(epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert not hidden(out)


@pytest.mark.full
def test_a_run_that_is_interrupted_leaves_no_lock(tmp_path: Path) -> None:
    def stop(progress: Training) -> None:
        if progress.step == 2:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        train(build(), tmp_path / "run", callbacks=[Step(stop)])
    assert not hidden(tmp_path / "run")
    caught.value.run.train()
    assert not hidden(tmp_path / "run")


@pytest.mark.full
def test_a_run_that_was_taken_over_ends_without_writing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    left: dict[str, bytes] = {}

    def take_over(progress: Training) -> None:
        if progress.step == 2:
            leave(out, elsewhere())
            left.update({path.name: path.read_bytes() for path in out.iterdir()})

    with pytest.raises(RunError, match="has been taken over"):
        train(build(), out, callbacks=[Step(take_over)])
    assert {path.name: path.read_bytes() for path in out.iterdir()} == left


@pytest.fixture
def swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    Path("trial.py").write_text(SOURCE)
    return partial(sweep, "trial.py", {"beta": [1.0]}, 1, out="out", num_workers=1)


@pytest.mark.full
@pytest.mark.filterwarnings("ignore:.*waiting up to")
def test_while_a_sweep_runs_neither_it_nor_a_member_is_begun_again(
    swept: Callable[..., Any],
) -> None:
    swept()
    member = Path("out/members/beta=1,seed=0")
    assert member.is_dir()
    leave(Path("out"), elsewhere(pid=0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock.time, "sleep", lambda _: os.utime(Path("out", NAME)))
        for act in (swept, partial(swept, resume=True), partial(swept, force=True)):
            with pytest.raises(RunError, match=r"^out is being written by process 0 on node7"):
                act()
        with pytest.raises(RunError, match=r"out is being written by process 0 on node7"):
            train("trial.py", member, arguments={"beta": 1.0}, resume=True)
    Path("out", NAME).unlink()
    with writer(member), pytest.raises(RunError, match=f"^{member} {HELD}"):
        swept(force=True)
    with writer(Path("out")), writer(member):  # as its own members are
        pass
    swept(resume=True)
    assert not list(Path("out").rglob(".*"))


def forked(act: Callable[[], None]) -> int:
    """Begin an act in a child, which ends with status 3 where it is refused."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        except RunError as error:
            code = 3 if HELD in str(error) else 2
        finally:
            os._exit(code)
    return child


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.full
def test_of_three_that_begin_at_once_one_trains(tmp_path: Path) -> None:
    train(build(), tmp_path / "whole", seed=3)
    (begun, begin), (heard, tell) = os.pipe(), os.pipe()

    def wait_for_others(progress: Training) -> None:
        if progress.step == 2:
            os.read(heard, 1)
            os.read(heard, 1)

    def act() -> None:
        os.read(begun, 1)
        try:
            train(build(), tmp_path / "run", seed=3, callbacks=[Step(wait_for_others)])
        except RunError:
            os.write(tell, b".")
            raise

    children = [forked(act) for _ in range(3)]
    os.write(begin, b"...")
    assert sorted(map(ended, children)) == [0, 3, 3]
    for name in ("checkpoint.pt", "history.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not hidden(tmp_path / "run")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "whole"]


@pytest.mark.full
@pytest.mark.parametrize("has_kernel", [True, False])
def test_there_is_never_more_than_one_whoever_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_kernel: bool
) -> None:
    """Six processes take the lock again and again, and are killed one by one while they have it."""
    inside, turns = tmp_path / "inside", tmp_path / "turns"
    monkeypatch.setattr(lock, "SETTLED", 0.05)
    if not has_kernel:
        monkeypatch.setattr(lock, "_flock", lambda file: None)

    def take_turns() -> None:
        while True:
            with suppress(RunError), writer(tmp_path):
                before = inside.read_text() if inside.exists() else str(os.getpid())
                if before != str(os.getpid()) and started(int(before)):
                    os._exit(9)  # which a living process has left meanwhile, or is in
                inside.write_text(str(os.getpid()))
                with turns.open("a") as file:
                    file.write(".")
                if turns.stat().st_size % 5 == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                assert inside.read_text() == str(os.getpid())
                inside.unlink()

    children = [forked(take_turns) for _ in range(6)]
    assert [ended(child) for child in children] == [-signal.SIGKILL] * 6
    with writer(tmp_path):
        pass
    assert not hidden(tmp_path)
