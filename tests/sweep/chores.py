"""Jobs for workers that need no torch: processes that do them start fast."""

import os
import signal
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyro_decomp.training.interruption import Interrupted, stop_requests


def do(job: dict[str, Any], tell: Callable[[Any], None]) -> None:
    """Do what the job says."""
    if "wait_for" in job:
        while not Path(job["wait_for"]).exists():
            time.sleep(0.01)
    if "note_process" in job:
        Path(job["note_process"]).write_text(str(os.getpid()))
    if "until_stopped" in job:
        _wait_for_a_stop(job, tell)
        return
    tell(("begun", job["name"]))
    if "say" in job:
        tell({name: os.environ.get(name) for name in job["say"]})
        tell(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    if "warn" in job:
        warnings.warn(job["warn"], stacklevel=1)
    if "raise" in job:
        raise ValueError(job["raise"])
    if "die" in job:
        os.kill(os.getpid(), job["die"])
    if "exit" in job:
        os._exit(job["exit"])


def _wait_for_a_stop(job: dict[str, Any], tell: Callable[[Any], None]) -> None:
    with stop_requests() as stop:
        tell(("begun", job["name"]))
        while not stop.wait(0.01):
            pass
        time.sleep(job["until_stopped"])
    tell(("saved", job["name"]))
    if not job.get("ends"):
        raise Interrupted(1, Path("out"))
