"""Training that takes turns with something else."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from timing import Action

from pyro_decomp import train
from pyro_decomp.acceleration import Execution
from pyro_decomp.training.callbacks import Callback
from pyro_decomp.training.experiment import Experiment

Training = Callable[[Path, Callable[[int], None]], object]
"""Trains into a folder, and says after every step how many are done."""

WARM_UP = 3


class _EnoughError(BaseException):
    """All turns are timed; no Exception, which training would report as the callback's failure."""


def alternate(
    training: Training, other: Action, *, steps: int, turns: int
) -> tuple[list[float], list[float]]:
    """Seconds of a step of training and of a call of something else, so many of each a turn.

    In the other's turns training waits where it reports its progress, so that both run in one
    process with as many threads, memory kept and denormals flushed, as training does it. Training
    is left when all turns are timed.

    Args:
        training: What is timed.
        other: What it takes turns with.
        steps: Steps of one and calls of the other in a turn.
        turns: How many.
    """
    ours: list[float] = []
    others: list[float] = []
    since = 0.0

    def call(times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            other()
        return (time.perf_counter() - start) / times

    def report(step: int) -> None:
        nonlocal since
        now, done = time.perf_counter(), step - WARM_UP
        if done == 0:
            call(WARM_UP)
        elif done > 0 and done % steps == 0:
            ours.append((now - since) / steps)
            others.append(call(steps))
            if len(ours) == turns:
                raise _EnoughError
        else:
            return
        since = time.perf_counter()

    with TemporaryDirectory() as folder, suppress(_EnoughError):
        training(Path(folder) / "run", report)
    if len(ours) < turns:
        raise RuntimeError(f"expected {turns} turns, got {len(ours)}: the training is too short")
    return ours, others


class _Reporting(Callback):
    def __init__(self, report: Callable[[int], None]) -> None:
        self._report = report

    def step(self, training: Any) -> None:
        self._report(training.step)


def training_of(experiment: Experiment, execution: Execution) -> Training:
    """All that :func:`pyro_decomp.train` does, with its checks, history and checkpoints.

    Args:
        experiment: Of at most 10,000 steps: longer runs do not report every one.
        execution: How it computes its steps.
    """

    def training(folder: Path, report: Callable[[int], None]) -> None:
        train(experiment, folder, execution=execution, callbacks=[_Reporting(report)])

    return training
