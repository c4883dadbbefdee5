"""Commands from their start to their end, against a Python that imports torch and Pyro."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from timing import Comparison

from comparisons import Effort

EXAMPLE = Path(__file__).parents[2] / "examples" / "pinwheel_mixture.py"
IMPORTS = "python -c 'import torch, pyro'"


class Run(NamedTuple):
    """What a process took.

    Attributes:
        seconds: From its start to its end.
        last_step: From its start to its report of the last step; to its end if it reports none.
        memory: The most that it had resident, in MiB; processes that it starts have their own.
    """

    seconds: float
    last_step: float
    memory: float


def whole_commands(effort: Effort) -> Iterator[Comparison]:
    """Training with an empty cache and again, then measuring and drawing the run; in turns."""
    epochs = 50 if effort.is_quick else 200  # 200 is the default; of four steps each
    last = f"step {4 * epochs}/{4 * epochs} "
    turns = 1 if effort.is_quick else min(effort.turns, 7)
    with tempfile.TemporaryDirectory() as folder:
        took: dict[str, list[Run]] = {}
        for turn in range(turns):
            out = Path(folder, str(turn))
            train = ["train", EXAMPLE, "--out", out, "--set", f"epochs={epochs}"]
            commands = {
                IMPORTS: ["-c", "import torch, pyro"],
                "train, first run": ["-m", "pyro_decomp", *train, "--force"],
                "train": ["-m", "pyro_decomp", *train, "--force"],
                "evaluate": ["-m", "pyro_decomp", "evaluate", out],
                "plot": ["-m", "pyro_decomp", "plot", out],
            }
            for name, words in commands.items():
                cache = Path(folder, f"cache-{turn}")  # which the first run finds empty
                took.setdefault(name, []).append(_run(words, cache, last))
    others = [run.seconds for run in took[IMPORTS]]
    for name in list(took)[1:]:
        runs = took[name]
        words = f"{name}: to its end, {max(run.memory for run in runs):.0f} MiB"
        yield Comparison("whole command", words, IMPORTS, [run.seconds for run in runs], others)
        if name == "train":
            steps = [run.last_step for run in runs]
            yield Comparison("whole command", f"{name}: to its last step", IMPORTS, steps, others)


def _run(words: list[object], cache: Path, last: str) -> Run:
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    seen = 0.0
    for line in process.stdout:
        if line.startswith(last):
            seen = time.perf_counter() - start
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return Run(seconds, seen or seconds, used.ru_maxrss / 1024)
