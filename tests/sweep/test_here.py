"""Work in this process, and when it is handed over to workers."""

import threading
from collections import deque
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp.sweep import here
from pyro_decomp.sweep.ensemble.members import Item, Member
from pyro_decomp.sweep.here import START_SECONDS, work_here, worth_workers
from pyro_decomp.sweep.jobs import Advance, Job
from pyro_decomp.training.interruption import Interrupted


def jobs(count: int, *, together: bool = False) -> deque[Job]:
    members = [Member(f"seed={seed}", {}, seed) for seed in range(count)]
    return deque(Job(Item((member,), together, "")) for member in members)


class Notes:
    def __init__(self) -> None:
        self.ends: list[tuple[int, str | None]] = []

    def told(self, job: Job, message: Any) -> None:
        pass

    def ended(self, job: Job, failure: str | None, *, died: bool) -> None:
        assert not died
        self.ends.append((job.item.members[0].seed, failure))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which jobs set."""
    now = [0.0]
    trial = here._Trial
    monkeypatch.setattr(here, "_Trial", lambda: trial(clock=lambda: now[0]))
    return now


def run(clock: list[float], seconds: float, count: int, size: int, **options: Any) -> Any:
    """Jobs of ten steps of so many seconds each: what ended here, and what is left."""

    def do(job: Job, tell: Any) -> None:
        assert torch.get_num_threads() == 1
        for step in range(10):
            tell(Advance(step + 1, 10))
            clock[0] += seconds / 10

    queue, notes = jobs(count, **options), Notes()
    work_here(do, queue, notes, threading.Event(), size)  # type: ignore[arg-type]
    return [seed for seed, _ in notes.ends], [job.item.members[0].seed for job in queue]


def test_little_work_is_done_here(clock: list[float]) -> None:
    assert run(clock, seconds=1.0, count=6, size=2) == ([0, 1, 2, 3, 4, 5], [])


def test_one_worker_is_this_process(clock: list[float]) -> None:
    assert run(clock, seconds=1000.0, count=2, size=1) == ([0, 1], [])


def test_much_work_is_handed_over_after_the_trial_and_the_job_in_hand_with_it(
    clock: list[float],
) -> None:
    assert run(clock, seconds=1.5, count=50, size=2) == ([0], list(range(1, 50)))
    assert 2.0 <= clock[0] <= 2.2
    clock[0] = 0.0
    assert run(clock, seconds=600.0, count=2, size=2) == ([], [0, 1])
    assert clock[0] == 60.0  # the first report that there is


def test_the_last_job_is_not_handed_over(clock: list[float]) -> None:
    assert run(clock, seconds=1000.0, count=1, size=2) == ([0], [])


def test_batches_go_to_workers_at_once_but_for_one_alone(clock: list[float]) -> None:
    assert run(clock, seconds=1.0, count=2, size=2, together=True) == ([], [0, 1])
    assert run(clock, seconds=1.0, count=1, size=2, together=True) == ([0], [])
    assert run(clock, seconds=1.0, count=2, size=1, together=True) == ([0, 1], [])


def test_workers_are_worth_it_when_their_start_is_won_back() -> None:
    for size in (2, 8):
        even = START_SECONDS * size / (size - 1)
        assert worth_workers(1.01 * even, 0.0, size)
        assert not worth_workers(0.99 * even, 0.0, size)


def test_a_failure_is_told_and_the_threads_are_given_back() -> None:
    def do(job: Job, tell: Any) -> None:
        if job.item.members[0].seed == 0:
            raise ValueError("no\nway")

    queue, notes, before = jobs(2), Notes(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        work_here(do, queue, notes, threading.Event(), 2)  # type: ignore[arg-type]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert notes.ends == [(0, "ValueError: no way"), (1, None)]


def test_an_interruption_is_passed_on_and_a_stop_ends_between_jobs() -> None:
    def do(job: Job, tell: Any) -> None:
        raise Interrupted(1, Path("out"))

    with pytest.raises(Interrupted):
        work_here(do, jobs(2), Notes(), threading.Event(), 1)  # type: ignore[arg-type]
    stop = threading.Event()
    queue = jobs(2)
    work_here(lambda job, tell: stop.set(), queue, Notes(), stop, 1)  # type: ignore[arg-type]
    assert len(queue) == 1
