"""Damaged and hostile run folders by every command: one sentence, nothing executed or changed."""

import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.faults.files import HEAD
from tests.faults.test_wrong import Ask, ask, assert_survived

__all__ = ["ask"]
pytestmark = pytest.mark.slow

# Its text says in a file that it was executed.
SOURCE = "open('executed', 'a').close()\n" + HEAD + "def experiment(): return made(pinwheel())\n"
COMMANDS = {
    "inspect": ["inspect", "h"],
    "evaluate": ["evaluate", "h", "--only", "elbo", "--quiet"],
    "plot": ["plot", "h", "--quiet"],
    "show": ["show", "h"],
    "train": ["train", "good.py", "--out", "h", "--quiet"],
    "resume": ["train", "good.py", "--out", "h", "--resume", "--quiet"],
    "force": ["train", "good.py", "--out", "h", "--force", "--quiet"],
    "sweep": ["sweep", "good.py", "--set", "a=1,2", "--out", "h", "--resume", "--quiet"],
    "compare": ["compare", "h"],
}


class Evil:
    """What is executed where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch executed",)


def put(name: str, make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else in the place of a file."""

    def do(run: Path) -> None:
        (run / name).unlink()
        make(run / name)

    return do


def edit(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def do(run: Path) -> None:
        content = (run / name).read_bytes()
        assert old in content
        (run / name).write_bytes(content.replace(old, new, 1))

    return do


def with_code(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("checkpoint/data.pkl", pickle.dumps(Evil()))
        archive.writestr("checkpoint/version", "3\n")


def terabyte(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


def of_another_user(run: Path) -> None:
    if os.geteuid():
        pytest.skip("needs to be root")
    for path in (run, *run.rglob("*")):
        os.chown(path, 65534, 65534)


KINDS: Mapping[str, Callable[[Path], None]] = {
    "config.json, no JSON": edit("config.json", b"{", b""),
    "config.json, zeros": put("config.json", lambda path: path.write_bytes(bytes(100))),
    "config.json, deep": put("config.json", lambda path: path.write_text(10**6 * "[")),
    "config.json, a pipe": put("config.json", os.mkfifo),
    "config.json, endless": put("config.json", terabyte),
    "config.json, edited": edit("config.json", b'"seed": 0', b'"seed": 1'),
    "config.json, another text": edit("config.json", b"('executed'", b"('Executed'"),
    "config.json, of the future": edit("config.json", b'"format": 1', b'"format": 99'),
    "checkpoint.pt, cut": lambda run: os.truncate(run / "checkpoint.pt", 5000),
    "checkpoint.pt, with code": put("checkpoint.pt", with_code),
    "checkpoint.pt, pickled": put("checkpoint.pt", lambda p: p.write_bytes(pickle.dumps(Evil()))),
    "checkpoint.pt, a pipe": put("checkpoint.pt", os.mkfifo),
    "checkpoint.pt, endless": put("checkpoint.pt", terabyte),
    "history.csv, zeros": put("history.csv", lambda path: path.write_bytes(bytes(100))),
    "history.csv, a pipe": put("history.csv", os.mkfifo),
    "history.csv, endless": put("history.csv", terabyte),
    "another user's": of_another_user,
}


@pytest.fixture(scope="module")
def trained(ask: Ask) -> Path:
    """A run that was trained, drawn and measured."""
    (ask.folder / "noisy.py").write_text(SOURCE)
    for words in (["train", "noisy.py", "--out", "noisy"], ["evaluate", "noisy", "--only", "elbo"]):
        found = ask(words=[*words, "--quiet"])
        assert found["code"] == 0, found["output"]
    return ask.folder / "noisy"


def state(folder: Path) -> dict[str, tuple[int, ...]]:
    """Of everything in a folder what changes when it is written; a lock may come and go there."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        written = 0 if path.is_dir() else status.st_mtime_ns
        found[str(path)] = status.st_mode, status.st_ino, status.st_size, written
    return found


def may_do_it(kind: str, command: str) -> bool:
    """Whether a command does what it is for, with nothing of what is hostile."""
    harmless = {
        "show": True,
        "force": not kind.startswith("config.json"),
        "compare": kind in ("checkpoint.pt, with code", "another user's"),  # it reads tables
        "train": kind.startswith(("history.csv", "another")),  # into a folder with a number
    }
    return harmless.get(command, False)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_hostile_folder(kind: str, command: str, ask: Ask, trained: Path) -> None:
    run, executed = ask.folder / "h", ask.folder / "executed"
    for folder in (run, ask.folder / "h-2"):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(trained, run)
    KINDS[kind](run)
    executed.unlink(missing_ok=True)
    before = state(run)
    found = ask(words=COMMANDS[command])
    assert_survived(found)
    assert not executed.exists() or kind.startswith("history.csv")  # whose text is as recorded
    assert "Traceback" not in found["output"]
    assert "--traceback shows" not in found["output"]
    if may_do_it(kind, command):
        assert found["code"] == 0 or command == "show", found["output"]
    else:
        told = [line for line in found["output"].splitlines() if line.startswith("error:")]
        assert (found["code"], len(told)) == (1, 1), found["output"]
    if command != "force":
        assert state(run) == before
    if command == "show" and "," in kind:
        assert f"h/{kind.partition(',')[0]}" in found["output"], found["output"]
