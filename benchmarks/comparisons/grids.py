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
PUBLISHED = {"epochs": "500", "batch_size": "400", "anneal": "false"}
GRID = {"beta": "0.01,0.5,1,1.2", "alpha": "0,1,3"} | PUBLISHED
QUICK_GRID = {"beta": "0.5,1"} | PUBLISHED | {"epochs": "3"}


def grids(effort: Effort) -> Iterator[Comparison]:
    """A sweep of the pinwheel as it is by default, in worker processes, and one after another.

    Once each: the least and the most are the one ratio that there is.
    """
    values, seeds = (QUICK_GRID, 2) if effort.is_quick else (GRID, 8)
    combinations = len(values["beta"].split(",")) * len(values.get("alpha", "0").split(","))
    what = f"pinwheel, {combinations} combinations x {seeds} seeds, 500 epochs"
    ways = {
        "worker processes": ["--way", "processes"],
        "one after another": ["--way", "processes", "--workers", "1"],
    }
    ours = seconds_of_sweep(values, seeds, [])
    for name, options in ways.items():
        others = seconds_of_sweep(values, seeds, options)
        yield Comparison(what, "sweep", name, [ours], [others])


def seconds_of_sweep(values: dict[str, str], seeds: int, options: list[str]) -> float:
    """Run a sweep once, from the command to the table."""
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
        return time.perf_counter() - began
