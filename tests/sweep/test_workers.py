"""Worker processes that fail, die, are told to stop, or lose their parent."""

import math
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp.sweep.workers import ONE_THREAD, WorkerPool, run_here
from pyro_decomp.training.interruption import Interrupted
from tests.sweep.chores import do

pytestmark = pytest.mark.full

Job = dict[str, Any]
ROOT = Path(__file__).parents[2]


class Notes:
    """Writes down what it is told; sets an event at a number of words."""

    def __init__(self) -> None:
        self.words: list[tuple[str, Any]] = []
        self.ends: dict[str, tuple[str | None, bool]] = {}
        self.warnings: list[str] = []
        self.stop = threading.Event()
        self.stop_at: int | None = None

    def told(self, job: Job, message: Any) -> None:
        self.words.append((job["name"], message))
        if len(self.words) == self.stop_at:
            self.stop.set()

    def warned(self, sentence: str) -> None:
        self.warnings.append(sentence)

    def ended(self, job: Job, failure: str | None, *, died: bool) -> None:
        assert job["name"] not in self.ends
        self.ends[job["name"]] = failure, died


def run(jobs: list[Job], size: int, notes: Notes | None = None) -> Notes:
    notes = notes or Notes()
    WorkerPool(do, size).run(deque(jobs), notes, notes.stop)
    return notes


def run_in_this_process(do: Any, count: int, notes: Notes) -> deque[Job]:
    queue = deque[Job]({"name": str(number)} for number in range(count))
    run_here(do, queue, notes, notes.stop)
    return queue


@pytest.mark.fast
def test_jobs_in_this_process_have_one_thread_and_their_failures_are_told() -> None:
    seen = []

    def do(job: Job, tell: Any) -> None:
        seen.append(torch.get_num_threads())
        tell("begun")
        if job["name"] == "0":
            raise ValueError("no\nway")

    notes, before = Notes(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert not run_in_this_process(do, 2, notes)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1]
    assert notes.ends == {"0": ("ValueError: no way", False), "1": (None, False)}
    assert notes.words == [("0", "begun"), ("1", "begun")]


@pytest.mark.fast
def test_in_this_process_an_interruption_is_passed_on_and_a_stop_ends_between_jobs() -> None:
    def interrupted(job: Job, tell: Any) -> None:
        raise Interrupted(1, Path("out"))

    with pytest.raises(Interrupted):
        run_in_this_process(interrupted, 2, Notes())
    notes = Notes()
    assert len(run_in_this_process(lambda job, tell: notes.stop.set(), 2, notes)) == 1


@pytest.mark.fast
def test_one_that_raises_or_dies_does_not_take_the_others_down() -> None:
    jobs: list[Job] = [
        {"name": "speaks", "say": list(ONE_THREAD)},  # in the first process of all
        {"name": "raises", "raise": "no\nway"},
        {"name": "killed", "die": signal.SIGKILL},
        {"name": "exits", "exit": 3},
        {"name": "warns", "warn": "take care"},
    ]
    before = dict(os.environ)
    notes = run(jobs, size=2)
    assert dict(os.environ) == before
    killed = (
        "its worker process was killed by SIGKILL, as one is that takes more memory than there is"
    )
    assert notes.ends == {
        "raises": ("ValueError: no way", False),
        "killed": (killed, True),
        "exits": ("its worker process ended with exit status 3", True),
        "warns": (None, False),
        "speaks": (None, False),
    }
    assert notes.warnings == ["take care"]
    spoken = [message for name, message in notes.words if name == "speaks"]
    assert spoken == [("begun", "speaks"), ONE_THREAD, True]  # Ctrl-C is held back
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.fast
def test_as_many_jobs_as_there_are_workers_at_a_time(tmp_path: Path) -> None:
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    jobs: list[Job] = [
        {"name": "a", "note_process": first, "until_stopped": 0},
        {"name": "b", "wait_for": first, "note_process": second},
        {"name": "c"},
    ]
    notes = Notes()
    notes.stop_at = 3  # a waits to be stopped while the other worker does b and then c
    run(jobs, 2, notes)
    said = [name for name, _ in notes.words]
    assert (sorted(said[:2]), said[2:]) == (["a", "b"], ["c", "a"])  # two begin as they come
    assert Path(first).read_text() != Path(second).read_text()


def test_a_job_added_by_the_listener_is_done_too() -> None:
    class Again(Notes):
        def ended(self, job: Job, failure: str | None, *, died: bool) -> None:
            super().ended(job, failure, died=died)
            if died:
                queue.append({"name": "again"})

    notes, queue = Again(), deque([{"name": "dies", "exit": 1}])
    WorkerPool(do, 1).run(queue, notes, notes.stop)
    assert notes.ends["again"] == (None, False)


@pytest.mark.parametrize("ends", [False, True], ids=["interrupted", "done just then"])
def test_a_stop_lets_workers_save_and_hands_out_no_more(
    ends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All have as long as they need, and one that has nothing to do would be waited for without end.
    monkeypatch.setattr("pyro_decomp.sweep.workers.PATIENCE", math.inf)
    notes = Notes()
    notes.stop_at = 1
    jobs: list[Job] = [{"name": "a", "until_stopped": 0.3, "ends": ends}, {"name": "b"}]
    run(jobs, 1, notes)
    assert notes.words == [("a", ("begun", "a")), ("a", ("saved", "a"))]
    assert notes.ends == {}


PARENT = """
import sys, threading
from collections import deque
from pathlib import Path
from pyro_decomp.sweep.workers import WorkerPool
from tests.sweep.chores import do

class Silent:
    def told(self, job, message): print(message, flush=True)
    def warned(self, sentence): pass
    def ended(self, job, failure, *, died): pass

if __name__ == "__main__":
    busy = [{"name": n, "until_stopped": 0, "note_process": n} for n in ("one", "two")]
    WorkerPool(do, 2).run(deque(busy), Silent(), threading.Event())
"""


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_no_worker_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    )
    assert parent.stdout
    for _ in range(2):
        parent.stdout.readline()
    workers = [int((tmp_path / name).read_text()) for name in ("one", "two")]
    assert all(map(is_running, workers))
    parent.kill()
    parent.wait()
    parent.communicate(timeout=600)  # the output ends when the last process that could write does
