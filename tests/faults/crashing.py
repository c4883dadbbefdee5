"""A process that has imported everything, and runs a command in forks of itself, each with a fault.

``crashing.py tried NAME STRIDE`` stops or fails the command of a row of ``COMMANDS`` at every
STRIDE-th operation on files, then gives the command that goes on; ``crashing.py killed NAME KILLS``
kills it at random instants. Writes a JSON line for each: what came of both commands, and what was
left in between.
"""

import csv
import errno
import hashlib
import io
import json
import mmap
import os
import random
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}

import pyarrow.parquet
import torch
from PIL import Image

from pyro_decomp.analysis import pictures
from pyro_decomp.cli import main
from pyro_decomp.training import loop
from tests.faults.file_faults import Faults

CHANGING = {"resources.json", "members.jsonl", "table.parquet"}  # seconds are in them
LAST_KILL = 12  # step after which none is begun
EVERY = 8  # steps between checkpoints
TRAIN = ["train", "trial.py", "--seed", "3", "--out", "out", "--quiet"]
EPOCHS = ["--set", "epochs=4"]  # of four steps
SWEEP = ["sweep", "trial.py", "--set", "beta=0.5,2", "--set", "epochs=3", "--workers", "1"]
SWEEP += ["--out", "out", "--quiet"]
EVALUATE = ["evaluate", "out", "--only", "elbo", "--quiet"]


@dataclass(frozen=True)
class Command:
    """A command, and what there is before it.

    Attributes:
        words: The command.
        before: Commands that are given first.
        again: What is added to go on with it.
        until: The step at which the last command before it is interrupted.
    """

    words: list[str]
    before: tuple[list[str], ...] = ()
    again: tuple[str, ...] = ()
    until: int | None = None


COMMANDS = {
    "train": Command([*TRAIN, *EPOCHS], again=("--resume",)),
    "train, fused": Command([*TRAIN, *EPOCHS, "--steps", "fused"], again=("--resume",)),
    "convolutions": Command(["train", "convolutions.py", *TRAIN[2:]], again=("--resume",)),
    "resume": Command([*TRAIN, *EPOCHS, "--resume"], before=([*TRAIN, *EPOCHS],), until=7),
    "force": Command(
        [*TRAIN, *EPOCHS, "--force"], before=([*TRAIN, "--set", "epochs=1"], EVALUATE)
    ),
    "sweep, processes": Command([*SWEEP, "--way", "processes"], again=("--resume",)),
    "sweep, batched": Command([*SWEEP, "--way", "batched"], again=("--resume",)),
    "sweep, measured": Command([*SWEEP, "--metrics", "elbo", "--resume"], before=(SWEEP,)),
    "sweep, force": Command([*SWEEP, "--force"], before=(SWEEP,)),
    "evaluate": Command([*EVALUATE, "--seed", "1"], before=([*TRAIN, *EPOCHS], EVALUATE)),
    "plot": Command(
        ["plot", "out", "--quiet"], before=([*TRAIN, *EPOCHS], ["plot", "out", "--quiet"])
    ),
    "compare": Command(["compare", "out"], before=([*SWEEP, "--seeds", "2"],)),
}
FAILURES = (  # at each operation the next of them: kind, and the error
    ("fail", errno.ENOSPC),
    ("fail", errno.EIO),
    ("fail on", errno.EROFS),
    ("fail", errno.EACCES),
    ("fail on", errno.ENOSPC),
)


def faults_of(number: int, operation: str) -> list[tuple[str, int]]:
    """Kinds of faults to try at an operation, and the error of each."""
    torn = [("torn", 0)] if operation.startswith("write") else []  # else as killed before the next
    return [("kill", 0), *torn, FAILURES[number % len(FAILURES)]]


def forked(act: Callable[[], object]) -> tuple[int, str]:
    """What becomes of a call in a fork of this process: its exit code, and what it says."""
    sys.stdout.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 99
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        try:
            act()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else bool(end.code)
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, errors="replace") as file:
        said = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def contents(folder: str) -> dict[str, str]:
    """Digests of all files that must not depend on how often a command was stopped."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and path.name not in CHANGING and path.name[0] != ".":
            content = path.read_bytes()
            if path.name == "table.csv":  # all but the seconds that it took
                rows = list(csv.DictReader(io.StringIO(content.decode())))
                content = json.dumps([row | {"seconds": ""} for row in rows]).encode()
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()[:8]
    return found


def lines(path: Path) -> None:
    """Read the whole lines of a journal, whose last may be cut."""
    for line in path.read_bytes().rpartition(b"\n")[0].splitlines():
        json.loads(line)


def table(path: Path) -> None:
    text = path.read_text()
    assert text.endswith("\n")
    assert len({len(row) for row in csv.reader(io.StringIO(text))}) == 1


READERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: json.loads(path.read_bytes()),
    ".jsonl": lines,
    ".csv": table,
    ".pt": lambda path: torch.load(path, weights_only=True),
    ".parquet": pyarrow.parquet.read_table,
    ".png": lambda path: Image.open(path).load(),
    ".gif": lambda path: Image.open(path).load(),
}


def damaged(folder: str) -> list[str]:
    """Files that are not whole, though they have the name of one that is."""
    found = []
    for path in sorted(Path(folder).rglob("*")):
        try:
            if path.suffix in READERS and not path.name.startswith("."):
                READERS[path.suffix](path)
        except Exception as error:
            found.append(f"{path}: {error!r}")
    return found


def left(folder: str) -> dict[str, list[str]]:
    """What a reader or the next writer finds: damaged files, and unfinished ones."""
    unfinished = [str(path) for path in sorted(Path(folder).rglob(".*"))]
    return {"damaged": damaged(folder), "unfinished": unfinished}


def prepared(command: Command) -> None:
    """A folder "before" with what there is before the command."""
    shutil.rmtree("out", ignore_errors=True)
    for words in command.before:
        if command.until is not None:
            stop_at(command.until)
        code, said = forked(lambda words=words: main(words))
        assert code == (130 if command.until else 0), said
    Path("out").mkdir(exist_ok=True)
    Path("out").rename("before")


def stop_at(step: int) -> None:
    run = loop.Loop.take_steps

    def take_steps(self: Any) -> Any:
        for number in run(self):
            if number == step:
                os.kill(os.getpid(), signal.SIGINT)
            yield number

    loop.Loop.take_steps = take_steps


def begin(command: Command) -> None:
    shutil.rmtree("out", ignore_errors=True)
    shutil.copytree("before", "out")
    if not command.before:
        Path("out").rmdir()


def told(**found: Any) -> None:
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


def gone_on(command: Command, wanted: dict[str, str]) -> dict[str, Any]:
    """What comes of the command that goes on."""
    code, said = forked(lambda: main([*command.words, *command.again]))
    now = contents("out")
    differing = sorted(name for name in {*now, *wanted} if now.get(name) != wanted.get(name))
    return {"code": code, "said": said, "differing": differing, **left("out")}


def ready(command: Command) -> None:
    """Make what there is before a command, and import all that it takes."""
    loop.Loop._checkpoint_is_due = lambda self: self.step % EVERY == 0
    if command.words[0] != "plot":
        pictures.draw = lambda *_, **__: []
    prepared(command)
    begin(command)
    with suppress(SystemExit):
        main(command.words)
    begin(command)


def tried(name: str, stride: int) -> None:
    command, faults, place = COMMANDS[name], Faults(), str(Path("out").resolve())
    ready(command)
    faults.watch(place)
    code, said = forked(lambda: main(command.words))
    operations = faults.operations()
    assert code == 0, said
    old, wanted = contents("before"), contents("out")
    told(operations=operations)
    tries = [(n, what, *f) for n, what in enumerate(operations, 1) for f in faults_of(n, what)]
    for number, what, kind, error in tries[::stride]:
        begin(command)
        faults.watch(place, kind, number, error)
        code, said = forked(lambda: main(command.words))
        faults.operations()
        found = {"number": number, "what": what, "kind": kind, "error": errno.errorcode.get(error)}
        then = contents("out")
        neither = [n for n, found in then.items() if found not in (old.get(n), wanted.get(n))]
        found |= {"code": code, "said": said, "same": then == wanted, "neither": neither}
        found |= left("out")
        again = gone_on(command, wanted)
        told(**found, again=again)


def killed(name: str, kills: int) -> None:
    """End the command at random instants between checkpoints, and go on with it after each.

    The timer counts the time of the processor, so that it matters little what else runs.
    """
    command, steps, generator = COMMANDS[name], mmap.mmap(-1, 8), random.Random(kills)
    take_steps = loop.Loop.take_steps

    def counted(self: Any) -> Iterator[int]:
        first = self.step + 1
        for step in take_steps(self):
            if step == max(at, first):
                signal.setitimer(signal.ITIMER_PROF, within)
            steps[0] = step
            yield step

    ready(command)
    code, said = forked(lambda: main(command.words))
    assert code == 0, said
    wanted, loop.Loop.take_steps = contents("out"), counted
    for _ in range(kills):
        begin(command)
        for more in ((), command.again)[: generator.choice((1, 2))]:  # some resumed runs are too
            at, within = generator.randrange(1, LAST_KILL), generator.uniform(0.0, 0.004)
            code, said = forked(lambda more=more: main([*command.words, *more]))
        at, found = LAST_KILL**2, {"code": code, "step": steps[0], "every": EVERY, **left("out")}
        told(**found, again=gone_on(command, wanted))


if __name__ == "__main__":
    {"tried": tried, "killed": killed}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
