"""Worker processes: jobs in, messages out; a death is noticed, and none outlives its parent."""

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, Protocol, TypeVar

from pyro_decomp.errors import DiskError
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.printing import keep_printing
from pyro_decomp.training.user_code import sentence

J = TypeVar("J")
J_contra = TypeVar("J_contra", contravariant=True)

POLL_SECONDS = 0.2  # between looks at whether to stop
PATIENCE = 30.0  # seconds for workers to save what they have

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Do = Callable[[J, Callable[[Any], None]], None]  # a job, and what takes its messages


class Listener(Protocol[J_contra]):
    """What a pool of workers calls with news of its jobs."""

    def told(self, job: J_contra, message: Any) -> None:
        """Called when a job sent a message."""

    def warned(self, sentence: str) -> None:
        """Called when a job warned of something."""

    def ended(self, job: J_contra, failure: str | None, *, died: bool) -> None:
        """Called when a job is done; ``failure`` says if it raised or its process died, and how."""


@dataclass
class _Worker(Generic[J]):
    process: Any
    connection: Connection
    job: J | None = None


class WorkerPool(Generic[J]):
    """A pool of worker processes, each with one thread.

    A process is started when there is a job for it and ends when there is none. Every process has
    a pipe of its own: one that is killed while it writes leaves the others' whole.

    Args:
        do: Does a job; a function of a module or an object that can be pickled.
        size: The most processes at a time.
    """

    def __init__(self, do: Do[J], size: int) -> None:
        self._do = do
        self._size = size
        self._workers: list[_Worker[J]] = []

    def run(self, queue: deque[J], listener: Listener[J], stop: threading.Event) -> None:
        """Do all jobs of a queue, to which the listener may add; or until a stop is asked for.

        Then the workers get SIGTERM, and as long as ``PATIENCE`` to save what they have.

        Raises:
            DiskError: A job met it, as all others would.
        """
        try:
            while (queue or self._workers) and not stop.is_set():
                self._hand_out(queue)
                self._listen(listener, POLL_SECONDS)
            if stop.is_set():
                self._stop(listener)
        finally:
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
                worker.connection.close()
            self._workers.clear()

    def _hand_out(self, queue: deque[J]) -> None:
        for worker in self._workers:
            if worker.job is None and queue:
                self._give(worker, queue.popleft())
        self._stop_idle()
        while queue and len(self._workers) < self._size:
            worker = self._start()
            self._workers.append(worker)
            self._give(worker, queue.popleft())

    def _start(self) -> _Worker[J]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        # not a daemon: those may have no children, and compilers are some
        process = context.Process(target=serve, args=(theirs, self._do), daemon=False)
        with one_thread(), interrupts_held_back():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def _stop_idle(self) -> None:
        for worker in [worker for worker in self._workers if worker.job is None]:
            worker.connection.close()  # which ends it
            worker.process.join()
            self._workers.remove(worker)

    def _give(self, worker: _Worker[J], job: J) -> None:
        worker.job = job
        with suppress(OSError):  # it has died, which is noticed when it is listened to
            worker.connection.send(job)

    def _listen(self, listener: Listener[J], seconds: float) -> None:
        by_connection = {worker.connection: worker for worker in self._workers}
        for connection in wait(list(by_connection), seconds):
            worker = by_connection[connection]  # type: ignore[index]
            try:
                kind, content = worker.connection.recv()
            except (EOFError, OSError):
                self._remove(worker, listener)
                continue
            job = worker.job
            if kind == "warned":
                listener.warned(content)
            elif kind == "told" and job is not None:
                listener.told(job, content)
            elif kind == "ended" and job is not None:
                worker.job = None
                listener.ended(job, content, died=False)
            elif kind == "cannot write":
                raise DiskError(content)

    def _remove(self, worker: _Worker[J], listener: Listener[J]) -> None:
        worker.process.join()
        worker.connection.close()
        self._workers.remove(worker)
        if worker.job is not None:
            listener.ended(worker.job, death(worker.process.exitcode), died=True)

    def _stop(self, listener: Listener[J]) -> None:
        for worker in self._workers:
            worker.process.terminate()
        deaf = _OnlyTold(listener)
        deadline = time.monotonic() + PATIENCE
        while self._workers and time.monotonic() < deadline:
            self._listen(deaf, POLL_SECONDS)
            self._stop_idle()


class _OnlyTold(Generic[J]):
    """A listener that passes on messages of jobs, but not that they end: they were told to."""

    def __init__(self, listener: Listener[J]) -> None:
        self.told = listener.told
        self.warned = listener.warned

    def ended(self, job: J, failure: str | None, *, died: bool) -> None:
        """Ignore that a job ended."""


def run_here(do: Do[J], queue: deque[J], listener: Listener[J], stop: threading.Event) -> None:
    """Do all jobs of a queue in this process instead of workers, or until a stop is asked for.

    It has one thread meanwhile, as a worker has: their number may change the last bits of a sum.

    Raises:
        Interrupted: The user stopped a job.
        DiskError: A job met it, as all others would.
    """
    import torch  # noqa: PLC0415 (takes seconds, which a process that only waits may do without)

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        while queue and not stop.is_set():
            job, failure = queue.popleft(), None
            try:
                do(job, partial(listener.told, job))
            except (Interrupted, DiskError):
                raise
            except Exception as error:
                failure = sentence(error)
            listener.ended(job, failure, died=False)
    finally:
        torch.set_num_threads(num_threads)


def death(exit_code: int) -> str:
    """Say how a worker process ended, from its exit code.

    >>> death(-9)
    'its worker process was killed by SIGKILL, as one is that takes more memory than there is'
    >>> death(1)
    'its worker process ended with exit status 1'
    """
    if exit_code >= 0:
        return f"its worker process ended with exit status {exit_code}"
    name = signal.Signals(-exit_code).name
    hint = ", as one is that takes more memory than there is" if name == "SIGKILL" else ""
    return f"its worker process was killed by {name}{hint}"


def serve(connection: Connection, do: Do[J]) -> None:
    """Run a worker process: do job after job until the pipe closes."""
    _end_with_parent()
    keep_printing()
    with suppress(BrokenPipeError, EOFError, Interrupted, KeyboardInterrupt):
        warnings.showwarning = lambda message, *_, **__: connection.send(("warned", str(message)))
        while True:
            job = connection.recv()
            try:
                do(job, partial(_tell, connection))
            except (BrokenPipeError, Interrupted):
                raise
            except DiskError as error:
                connection.send(("cannot write", str(error)))
            except Exception as error:
                connection.send(("ended", sentence(error)))
            else:
                connection.send(("ended", None))


def _tell(connection: Connection, message: Any) -> None:
    connection.send(("told", message))


def _end_with_parent() -> None:
    """End this process at once when its parent ends, even if that is killed."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def one_thread() -> Iterator[None]:
    """Give processes that are started inside one thread for arithmetic."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Keep Ctrl-C from processes that are started inside: their parent tells them to stop."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # started later, it would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
