"""Stopping a run by Ctrl-C, a notebook's stop button or SIGTERM."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C or SIGTERM, after writing a checkpoint.

    It is a ``KeyboardInterrupt``, so that ``except Exception`` lets it through and a loop over runs
    ends. In a notebook it is not raised: the run so far is returned there.

    Attributes:
        step: The step of the checkpoint.
        out: The run folder.
        run: The run so far, ``run.interrupted``, which can be used and goes on with
            ``run.train()``; None where members of a grid were stopped.
        runs: With ``seeds``, the runs that were done before, in order.
    """

    def __init__(self, step: int, out: Path) -> None:
        super().__init__(f"interrupted at step {step}; the run is in {out}")
        self.step = step
        self.out = out
        self.run: Any = None
        self.runs: list[Any] = []


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; a second one interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: Any) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, request) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
