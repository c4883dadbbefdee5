"""A process beside this one, without torch, that makes calls of functions of arrays.

It ends when its input does, so that it outlives no parent, and when it has nothing to do for long.
"""

import os
import pickle
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pyro_decomp.training.printing import keep_printing

PATIENCE = 60.0  # seconds; a parent that has this much to do needs no help
PROGRAM = f"""
import sys
sys.path[:] = [*filter(None, sys.path), sys.argv[2]]  # a user's random.py is none of Python's
from {__name__} import serve
serve(sys.argv[1])
"""

P = ParamSpec("P")
R = TypeVar("R")


class SecondProcess:
    """A process that makes one call after the other.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, module, str(Path(__file__).parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is its parent's
        )
        self._thread = ThreadPoolExecutor(1)
        self._calls: list[Future[Any]] = []

    @property
    def is_idle(self) -> bool:
        """Whether it is there and has made all calls that it was given."""
        return self._process.poll() is None and all(call.done() for call in self._calls)

    def submit(self, function: Callable[P, R], *args: P.args, **named: P.kwargs) -> "Future[R]":
        """Have a function called; what it is given can be pickled and needs no torch.

        Returns:
            Its result, or what it raised; an ``EOFError`` if the process has died.
        """
        self._calls.append(self._thread.submit(self._call, (function, args, named)))
        return self._calls[-1]

    def end(self) -> None:
        """End it, in the middle of a call or not."""
        self._process.kill()
        self._thread.shutdown(cancel_futures=True)
        self._process.communicate()

    def _call(self, call: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        written = pickle.dumps(call)
        try:
            self._process.stdin.write(written)
            self._process.stdin.flush()
            result, error = pickle.load(self._process.stdout)
        except Exception as lost:  # whatever is read next would be of this call
            self._process.kill()
            raise EOFError(f"the second process gave no answer ({lost})") from lost
        if error is not None:
            raise error
        return result


@contextmanager
def second_process(module: str) -> Iterator[SecondProcess | None]:
    """A process that is ready for calls by the time that this one has imported the module too.

    Returns:
        A context manager that gives the process; None where it would only cost time: with one
        processor, or where the module is imported here already.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    process = None
    if sys.executable and module not in sys.modules and (allowed or 1) > 1:
        try:
            process = SecondProcess(module)
        except OSError:  # no more of them are allowed
            process = None
    try:
        yield process
    finally:
        if process is not None:
            process.end()


def serve(module: str) -> None:
    """Import a module, and make the calls that come through the standard input until that ends.

    Without the module it ends at once: the parent finds out why.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # where a session has no meaning
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    keep_printing()
    sys.stdout = sys.stderr  # for whatever else is printed
    try:
        import_module(module)
    except Exception:
        return
    calls = sys.stdin.buffer
    while _is_asked(calls.fileno()):
        try:
            function, args, named = pickle.load(calls)
        except EOFError:
            return
        try:
            answer: tuple[Any, Exception | None] = function(*args, **named), None
        except Exception as error:
            answer = None, error
        try:
            answers.write(_written(answer))
            answers.flush()
        except OSError:  # the parent has gone
            os._exit(1)


def _written(answer: tuple[Any, Exception | None]) -> bytes:
    """An answer that can be read; of an error that cannot be sent, what it says."""
    try:
        pickle.loads(written := pickle.dumps(answer))
    except Exception as error:
        said = answer[1] or error
        written = pickle.dumps((None, RuntimeError(f"{type(said).__name__}: {said}")))
    return written


def _is_asked(calls: int) -> bool:
    """Wait until there is something to read; False after :data:`PATIENCE` seconds without."""
    if os.name == "nt":  # whose pipes cannot be waited for so
        return True
    return bool(select.select([calls], [], [], PATIENCE)[0])
