"""Stopping a run by Ctrl-C, a notebook's stop button, SIGTERM, or the terminal that closes."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ENDING = [n for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]  # Windows has no hangup


class Stopped(KeyboardInterrupt):
    """A signal asked this process to end.

    Attributes:
        signal: Its number; a shell is told of it by the exit status ``128 + signal``.
    """

    def __init__(self, message: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.signal = number


class Interrupted(Stopped):
    """Training was stopped by Ctrl-C, SIGTERM or SIGHUP, after writing a checkpoint.

    It is a ``KeyboardInterrupt``, so that ``except Exception`` lets it through and a loop over runs
    ends. In a notebook it is not raised: the run so far is returned there.

    Attributes:
        step: The step of the checkpoint.
        out: The run folder.
        signal: The number of the signal; SIGINT where code of the user's raised it. A script ends
            as the command line does with ``sys.exit(128 + stop.signal)``.
        run: The run so far, ``run.interrupted``, which can be used and goes on with
            ``run.train()``; None where members of a grid were stopped.
        runs: With ``seeds``, the runs that were done before, in order.
    """

    def __init__(self, step: int, out: Path, number: int = signal.SIGINT) -> None:
        super().__init__(f"interrupted at step {step}; the run is in {out}", number)
        self.step = step
        self.out = out
        self.run: Any = None
        self.runs: list[Any] = []


class StopRequest(threading.Event):
    """An event that a signal sets.

    Attributes:
        signal: The number of the signal.
    """

    signal: int = signal.SIGINT

    def ask(self, number: int) -> None:
        """Set it; the first signal that does so is the one that is kept."""
        if not self.is_set():
            self.signal = number
        self.set()


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """An event that Ctrl-C, SIGTERM or SIGHUP sets; a further Ctrl-C interrupts at once.

    The others do not, since they often come twice: from a terminal that closes and from its shell.
    """
    stop = StopRequest()

    def request(number: int) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise Stopped(number=number)
        stop.ask(number)

    with _handled(request, ENDING):
        yield stop


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end what runs inside as Ctrl-C does, so that it cleans up.

    Raises:
        Stopped: One of them came.
    """

    def end(number: int) -> None:
        raise Stopped(f"interrupted by {signal.Signals(number).name}", number)

    with _handled(end, ENDING[1:]):
        yield


@contextmanager
def _handled(handle: Callable[[int], None], names: list[str]) -> Iterator[None]:
    """Have signals handled in the main thread, but for those that are ignored, as by nohup."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        found = {number: signal.getsignal(number) for number in (getattr(signal, n) for n in names)}
        before = {n: each for n, each in found.items() if each not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, lambda number, _frame: handle(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
