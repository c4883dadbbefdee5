"""Terms of the aggregate posterior, forward and backward, in three ways.

    python benchmarks/pairwise.py [--threads 2] [--repeats 7]

By the package's C code; by torch in blocks, as where there is no compiler; and by the
straightforward expressions, which hold all pairs. Times are medians of runs that take turns with
one another, so that only ratios within a table mean anything on a shared machine. Memory is how far
the peak of a process of its own rises while it computes one value and gradient (Linux).
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import pyro.distributions as dist
import straightforward
import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior, gaussian_native, pair_weights


def total_correlation(z: Tensor, loc: Tensor, scale: Tensor, num_data: int) -> Tensor:
    """What TotalCorrelationELBO computes."""
    encodings = AggregatePosterior({"z": dist.Normal(loc, scale).to_event(1)})
    weights = pair_weights("stratified_averaged", num_data, len(z))
    log_q = encodings.log_densities({"z": z}, weights)
    return (log_q.joint - log_q.dimensions["z"].sum(-1)).mean()


def inclusive_kl(z: Tensor, loc: Tensor, scale: Tensor, num_data: int) -> Tensor:
    """What InclusiveKL computes of the encodings."""
    del num_data
    return -AggregatePosterior({"z": dist.Normal(loc, scale).to_event(1)}).log_prob({"z": z}).mean()


WAYS = ["native", "blocks", "baseline"]


class Case(NamedTuple):
    """One line of the table; ``baseline`` is None where it would need too much memory."""

    name: str
    batch: int
    dim: int
    ours: Callable[..., Tensor]
    baseline: Callable[..., Tensor] | None

    @property
    def ways(self) -> list[str]:
        """Which of them this case is computed in."""
        return WAYS if self.baseline else WAYS[:2]


CASES = [
    Case("TC terms", 64, 10, total_correlation, straightforward.total_correlation),
    Case("TC terms", 2048, 10, total_correlation, straightforward.total_correlation),
    Case("TC terms", 16384, 10, total_correlation, None),
    Case("inclusive KL", 400, 2, inclusive_kl, straightforward.inclusive_kl),
    Case("inclusive KL", 4096, 2, inclusive_kl, straightforward.inclusive_kl),
]


def gradients(case: Case, way: str, batch: int | None = None) -> list[Tensor]:
    """The value, and its gradients by location, scale and sample."""
    generator = torch.Generator().manual_seed(0)
    batch = batch or case.batch
    loc, noise = (torch.randn(batch, case.dim, generator=generator) for _ in range(2))
    scale = torch.rand(batch, case.dim, generator=generator) + 0.1
    inputs = [x.requires_grad_() for x in (loc + scale * noise, loc, scale)]
    function = case.baseline if way == "baseline" else case.ours
    no_code = mock.patch.object(gaussian_native, "compiled", return_value=None)
    with no_code if way == "blocks" else contextlib.nullcontext():
        value = function(*inputs, 5 * batch)
        value.backward()
    return [value.detach(), *(x.grad for x in inputs if x.grad is not None)]


def seconds(case: Case, way: str) -> float:
    """Of one value and gradient."""
    start = time.perf_counter()
    gradients(case, way)
    return time.perf_counter() - start


def peak_growth(case: Case, way: str) -> float:
    """MiB by which this process's peak memory exceeds what it has now, inputs included."""

    def status(key: str) -> int:
        text = Path("/proc/self/status").read_text()
        return int(text.split(f"{key}:")[1].split()[0])

    gradients(case, way, batch=2)  # loads code
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    gradients(case, way)
    return (status("VmHWM") - before) / 1024


def peak_growth_alone(index: int, way: str, threads: int) -> float:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--memory", str(index), way, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def row(index: int, repeats: int, threads: int) -> tuple[list[str], float]:
    """One line of the table, and how far values and gradients differ, relative."""
    case = CASES[index]
    taken: dict[str, list[float]] = {way: [] for way in case.ways}
    found = {way: gradients(case, way) for way in case.ways}  # a warm-up
    for _ in range(repeats if case.baseline else 1):
        for way, times in taken.items():
            times.append(seconds(case, way))
    medians = {way: statistics.median(times) for way, times in taken.items()}
    cells = [case.name, str(case.batch), str(case.dim)]
    cells += [f"{1e3 * medians[way]:.2f}" if way in medians else "" for way in WAYS]
    cells += [
        f"{medians[way] / medians['native']:.1f}" if way in medians else "" for way in WAYS[1:]
    ]
    for way in WAYS:
        cells.append(f"{peak_growth_alone(index, way, threads):.0f}" if way in medians else "")
    reference = found[case.ways[-1]]
    pairs = [pair for way in case.ways[:-1] for pair in zip(found[way], reference, strict=True)]
    return cells, max(float((a - b).norm() / b.norm()) for a, b in pairs)


def main() -> None:
    """Print a table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", nargs=2, metavar=("CASE", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        print(peak_growth(CASES[int(options.memory[0])], options.memory[1]))
        return
    titles = ["work", "B", "D", "C, ms", "blocks, ms", "straightforward, ms"]
    titles += ["blocks / C", "straightforward / C", "C, MiB", "blocks, MiB"]
    titles.append("straightforward, MiB")
    print(f"{options.threads} thread(s)\n\n| {' | '.join(titles)} |\n{'|---' * len(titles)}|")
    errors = []
    for index in range(len(CASES)):
        cells, error = row(index, options.repeats, options.threads)
        errors.append(error)
        print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\nvalues and gradients differ by {max(errors):.1e} at most, relative")


if __name__ == "__main__":
    main()
