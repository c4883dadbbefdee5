"""Work that is done in this process: starting others takes seconds, and may not be worth it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from pyro_decomp.sweep.jobs import Job
from pyro_decomp.sweep.worker_process import Do
from pyro_decomp.sweep.workers import Listener
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.user_code import sentence

START_SECONDS = 6.0  # until a worker has imported torch and Pyro and taken a first step
TRIAL_SECONDS = 2.0  # of work, until its rate tells how long the rest takes


class _HandOver(BaseException):
    """The rest is worth workers; not an `Exception`, which would count as the job's failure."""


class _Trial:
    """The rate of the work, from its first message on: what is imported late comes before that."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, float] | None = None
        self._job_began = clock()

    def begin_job(self) -> None:
        self._job_began = self._clock()

    def favours_workers(self, done: float, left: float, size: int) -> bool:
        """Whether workers are worth it, after so many jobs with so many left, parts included."""
        now = self._clock()
        if self._first is None:
            self._first = now, done
        began, done_then = self._first
        if now - began < TRIAL_SECONDS or done <= done_then:
            return False
        seconds_left = left * (now - began) / (done - done_then)
        return worth_workers(seconds_left, now - self._job_began, size)


def worth_workers(seconds_left: float, seconds_lost: float, size: int) -> bool:
    """Whether so many workers end sooner, who do again what is lost of the job in hand.

    >>> worth_workers(5.0, 1.0, size=2), worth_workers(20.0, 1.0, size=2)
    (False, True)
    """
    return START_SECONDS + (seconds_left + seconds_lost) / size < seconds_left


def work_here(
    do: Do[Job], queue: deque[Job], listener: Listener[Job], stop: threading.Event, size: int
) -> None:
    """Do the jobs of a queue in this process, with one thread, unless workers are worth it.

    They are where several items are trained as batches, and where ``TRIAL_SECONDS`` of work show
    that the rest would take longer here than with ``size`` workers, who then go on from the last
    checkpoint. With ``size`` 1 all is done here.

    Raises:
        Interrupted: The user stopped it.
    """
    if size > 1 and len(queue) > 1 and any(job.item.together for job in queue):
        return
    trial, num_done = _Trial(), 0

    def tell(job: Job, message: Any) -> None:
        listener.told(job, message)
        part = getattr(message, "fraction", 1.0)
        left = 1 + len(queue) - part
        if size > 1 and queue and trial.favours_workers(num_done + part, left, size):
            raise _HandOver

    while queue and not stop.is_set():
        job, failure = queue.popleft(), None
        trial.begin_job()
        try:
            with _one_thread():
                do(job, partial(tell, job))
        except _HandOver:
            queue.appendleft(job)
            return
        except Interrupted:
            raise
        except Exception as error:
            failure = sentence(error)
        num_done += 1
        listener.ended(job, failure, died=False)


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in a worker: how many threads there are may change the last bits of a sum."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
