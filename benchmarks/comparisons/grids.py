"""Whole sweeps, from the command to the table."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from timing import Comparison

from comparisons import Effort
from comparisons.cases import EXAMPLES

FILE = EXAMPLES / "pinwheel_mixture.py"
GRID = {"beta": "0.01,0.5,1,1.2", "alpha": "0,1,3"}
QUICK_GRID = {"beta": "0.5,1", "epochs": "3"}


def grids(effort: Effort) -> Iterator[Comparison]:
    """A sweep of the pinwheel as it is by default, in worker processes, and one after another.

    Times are of a member, with all that a process needs before its first step; one after another,
    only every eighth member is trained.
    """
    values, seeds = (QUICK_GRID, 2) if effort.is_quick else (GRID, 8)
    combinations = len(values["beta"].split(",")) * len(values.get("alpha", "0").split(","))
    what = f"pinwheel, {combinations} combinations, {seeds} seeds"
    ways = {
        "worker processes": (["--way", "processes"], seeds),
        "one after another": (["--way", "processes", "--workers", "1"], max(1, seeds // 8)),
    }
    ours = seconds_a_member(values, seeds, combinations, [])
    for name, (options, fewer) in ways.items():
        others = seconds_a_member(values, fewer, combinations, options)
        yield Comparison(what, "a member of sweep", name, [ours], [others])


def seconds_a_member(
    values: dict[str, str], seeds: int, combinations: int, options: list[str]
) -> float:
    """Run a sweep once."""
    with TemporaryDirectory() as folder:
        out = str(Path(folder) / "out")
        command = [sys.executable, "-m", "pyro_decomp", "sweep", str(FILE), "--out", out]
        for name, each in values.items():
            command += ["--set", f"{name}={each}"]
        began = time.perf_counter()
        subprocess.run(
            [*command, "--seeds", str(seeds), *options],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return (time.perf_counter() - began) / (combinations * seeds)
