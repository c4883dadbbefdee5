"""What a worker process runs, and what surrounds its start."""

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.user_code import sentence

J = TypeVar("J")

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

Do = Callable[[J, Callable[[Any], None]], None]  # a job, and what takes its messages


def serve(connection: Connection, do: Do[J]) -> None:
    """What a worker process runs: job after job until the pipe closes."""
    _end_with_parent()
    with suppress(BrokenPipeError, EOFError, Interrupted, KeyboardInterrupt):
        warnings.showwarning = lambda message, *_, **__: connection.send(("warned", str(message)))
        while True:
            job = connection.recv()
            try:
                do(job, partial(_tell, connection))
            except (BrokenPipeError, Interrupted):
                raise
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
    """Processes started inside have one thread for arithmetic."""
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
    """Processes started inside never see Ctrl-C: their parent tells them to stop, once."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # started later, it would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
