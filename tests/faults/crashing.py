"""A process that trains in forks of itself, each stopped or failed at one operation on files.

``crashing.py MODE MOST``: MODE is "kill" (at the operation), "torn" (half of what is written is
there), "full" (the disk is full, once), or "between" (killed after a step that is no checkpoint).
Writes one JSON line: how many operations there are, and of those tried what came of each.
"""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

from pyro_decomp.training import loop, training
from pyro_decomp.training.callbacks import Callback, Training
from pyro_decomp.training.experiment_file import ExperimentFile
from tests.callbacks import Step

EVERY, SEED = 5, 3  # steps between checkpoints
KEPT = "checkpoint.pt", "history.csv"


def train(out: str, *callbacks: Callback, resume: bool) -> None:
    source = ExperimentFile.read("trial.py", seed=SEED)
    training.train(source, out, seed=SEED, resume=resume, callbacks=callbacks)


class Operations:
    """Counts what is done with files, and ends the process, or the operation, at one of them."""

    def __init__(self, mode: str, at: int) -> None:
        self.mode, self.at, self.count = mode, at, 0
        for name in ("mkdir", "replace", "unlink"):
            self._watch(name)
        self._open = Path.open
        Path.open = lambda path, *a, **k: self.opened(path, *a, **k)  # noqa: PLW0108 (binds path)
        sync = os.fsync
        os.fsync = lambda file: (self.tick(), sync(file))[1]

    def _watch(self, name: str) -> None:
        original = getattr(Path, name)
        setattr(Path, name, lambda path, *a, **k: (self.tick(), original(path, *a, **k))[1])

    def opened(self, path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if "w" not in mode:
            return self._open(path, mode, *arguments, **named)
        self.tick()
        return Writer(self._open(path, mode, *arguments, **named), self)

    def tick(self, tear: Callable[[], Any] | None = None) -> None:
        self.count += 1
        if self.count != self.at:
            return
        if tear and self.mode in ("torn", "full"):
            tear()
        if self.mode == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.kill(os.getpid(), signal.SIGKILL)


class Writer:
    """A file that is open for writing."""

    def __init__(self, file: Any, operations: Operations) -> None:
        self.file, self.operations = file, operations

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: Any) -> Any:
        def half() -> None:
            self.file.write(content[: len(content) // 2])
            self.file.flush()

        self.operations.tick(half)
        return self.file.write(content)


def forked(act: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        except OSError as error:
            sys.stderr.write(f"{error}\n")
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def digests(out: str) -> dict[str, str]:
    return {name: hashlib.sha256(Path(out, name).read_bytes()).hexdigest() for name in KEPT}


def count() -> None:
    operations = Operations("none", -1)
    train("counted", resume=False)
    Path("count").write_text(str(operations.count))


def stopped(mode: str, at: int) -> int:
    """Train up to where it is stopped."""

    def report(progress: Training) -> None:
        if progress.step == at:
            os.kill(os.getpid(), signal.SIGKILL)

    def act() -> None:
        if mode != "between":
            Operations(mode, at)
        train("stopped", *([Step(report)] if mode == "between" else []), resume=False)

    return forked(act)


def main(mode: str, most: int) -> None:
    loop.Loop._checkpoint_is_due = lambda self: self.step % EVERY == 0
    assert forked(lambda: train("whole", resume=False)) == 0
    assert forked(count) == 0
    number = int(Path("count").read_text())
    places = list(range(1, number + 1))
    if mode == "between":
        places = [step for step in range(1, 25 * 4) if step % EVERY]
    chosen = sorted(random.Random(0).sample(places, min(most, len(places))))
    wanted, tried = digests("whole"), []
    for at in chosen:
        shutil.rmtree("stopped", ignore_errors=True)
        code = stopped(mode, at)
        kept = Path("stopped", "checkpoint.pt").exists()
        resumed = forked(lambda: train("stopped", resume=True))
        same = resumed == 0 and digests("stopped") == wanted
        hidden = sorted(path.name for path in Path("stopped").glob(".*"))
        tried.append({"at": at, "code": code, "kept": kept, "same": same, "hidden": hidden})
    sys.stdout.write(json.dumps({"operations": number, "tried": tried}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
