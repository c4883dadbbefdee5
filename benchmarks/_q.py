"""Terms of the aggregate posterior, forward and backward, against the straightforward expressions.

    python benchmarks/pairwise.py [--threads 2] [--repeats 7]

Times are medians of runs that take turns with one another, so that only ratios within a table
mean anything on a shared machine. Memory is how far the peak of a process of its own rises while
it computes one value and gradient (Linux).
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pyro.distributions as dist
import straightforward
import torch
from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior, pair_weights


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


class Case(NamedTuple):
    """One line of the table; ``baseline`` is None where it would need too much memory."""

    name: str
    batch: int
    dim: int
    ours: Callable[..., Tensor]
    baseline: Callable[..., Tensor] | None


CASES = [
    Case("TC terms", 64, 10, total_correlation, straightforward.total_correlation),
    Case("TC terms", 2048, 10, total_correlation, straightforward.total_correlation),
    Case("inclusive KL", 400, 2, inclusive_kl, straightforward.inclusive_kl),
    Case("inclusive KL", 4096, 2, inclusive_kl, straightforward.inclusive_kl),
]


def gradients(function: Callable[..., Tensor], batch: int, dim: int) -> list[Tensor]:
    """The value, and its gradients by location, scale and sample."""
    generator = torch.Generator().manual_seed(0)
    loc, noise = (torch.randn(batch, dim, generator=generator) for _ in range(2))
    scale = torch.rand(batch, dim, generator=generator) + 0.1
    inputs = [x.requires_grad_() for x in (loc + scale * noise, loc, scale)]
    value = function(*inputs, 5 * batch)
    value.backward()
    return [value.detach(), *(x.grad for x in inputs if x.grad is not None)]


def seconds(function: Callable[..., Tensor], case: Case) -> float:
    """Of one value and gradient."""
    start = time.perf_counter()
    gradients(function, case.batch, case.dim)
    return time.perf_counter() - start


def peak_growth(function: Callable[..., Tensor], case: Case) -> float:
    """MiB by which this process's peak memory exceeds what it has now, inputs included."""

    def status(key: str) -> int:
        text = Path("/proc/self/status").read_text()
        return int(text.split(f"{key}:")[1].split()[0])

    gradients(function, 2, case.dim)  # loads code
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = status("VmRSS")
    gradients(function, case.batch, case.dim)
    return (status("VmHWM") - before) / 1024


def peak_growth_alone(index: int, which: str, threads: int) -> float:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--memory", str(index), which, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print a table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", nargs=2, metavar=("CASE", "WHICH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory:
        case = CASES[int(options.memory[0])]
        print(peak_growth(getattr(case, options.memory[1]), case))
        return
    print("| work | B | D | time, ms | straightforward | ratio | memory, MiB | straightforward |")
    print("|---|---|---|---|---|---|---|---|")
    errors = []
    for index, case in enumerate(CASES):
        ours, theirs = [], []
        for repeat in range(options.repeats + 1 if case.baseline else 1):
            ours.append(seconds(case.ours, case))
            if case.baseline:
                theirs.append(seconds(case.baseline, case))
            if repeat == 0 and case.baseline:  # a warm-up
                ours, theirs = [], []
        cells = [f"{1e3 * statistics.median(ours):.1f}", "", ""]
        memory = [f"{peak_growth_alone(index, 'ours', options.threads):.0f}", ""]
        if case.baseline:
            ratio = statistics.median(theirs) / statistics.median(ours)
            cells[1:] = [f"{1e3 * statistics.median(theirs):.1f}", f"{ratio:.1f}"]
            memory[1] = f"{peak_growth_alone(index, 'baseline', options.threads):.0f}"
            pairs = [gradients(f, case.batch, case.dim) for f in (case.ours, case.baseline)]
            errors += [float((a - b).norm() / b.norm()) for a, b in zip(*pairs, strict=True)]
        row = [case.name, str(case.batch), str(case.dim), *cells, *memory]
        print(f"| {' | '.join(row)} |", flush=True)
    print(f"\nvalues and gradients differ by {max(errors):.1e} at most, relative")


if __name__ == "__main__":
    main()
