"""Dimension-wise MMD, forward and backward, against the expression that holds all pairs.

    python benchmarks/mmd.py [--threads 2] [--repeats 5] [--batch 500] [--dim 50]

Times are medians of runs that take turns with one another. Memory is what a process of its own
grows by while it computes one value and gradient (Linux).
"""

import argparse
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_decomp.divergences import nufft
from pyro_decomp.divergences.kernels import RBF, InverseMultiquadratic
from pyro_decomp.divergences.mmd import dimensionwise_mmd, mmd

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


def kernel(squared: Tensor) -> Tensor:
    """The default kernel in one dimension, as a user might write it."""
    return sum(2 * s / (2 * s + squared) for s in SCALES)


def straightforward(x: Tensor, y: Tensor) -> Tensor:
    """The formula as it stands, with B x B x D tensors."""

    def pairs(a: Tensor, b: Tensor) -> Tensor:
        return kernel((a[:, None] - b[None]).square())

    b, s = len(x), len(y)
    within_x, within_y, across = pairs(x, x), pairs(y, y), pairs(x, y)
    total = (within_x.sum() - within_x.diagonal().sum()) / (b * (b - 1))
    total += (within_y.sum() - within_y.diagonal().sum()) / (s * (s - 1))
    return total - 2 * across.sum() / (b * s)


def by_pairs(x: Tensor, y: Tensor) -> Tensor:
    """As where codes are too far apart for a grid."""
    with mock.patch.object(nufft, "MOST_NODES", 0):
        return dimensionwise_mmd(x, y)


def captured(x: Tensor, y: Tensor) -> Tensor:
    """One operator of a graph, which decides between grid and pairs as it is run."""
    return graph(len(x), len(y), x.shape[1])(x, y)


@cache
def graph(b: int, s: int, dim: int) -> GraphModule:
    """What make_fx sees."""
    x, y = torch.randn(b, dim).requires_grad_(), torch.randn(s, dim)
    return make_fx(lambda x, y: dimensionwise_mmd(x, y, InverseMultiquadratic()))(x, y)


CASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "straightforward": straightforward,
    "dimensionwise_mmd": dimensionwise_mmd,
    "dimensionwise_mmd, captured": captured,
    "dimensionwise_mmd, by pairs": by_pairs,
    "dimensionwise_mmd, own kernel": lambda x, y: dimensionwise_mmd(x, y, kernel),
    "dimensionwise_mmd, RBF, median": lambda x, y: dimensionwise_mmd(x, y, RBF()),
    "mmd (joint)": mmd,
}


def run(name: str, x: Tensor, y: Tensor) -> Tensor:
    """One value and its gradient by the codes."""
    (gradient,) = torch.autograd.grad(CASES[name](x, y), x)
    return gradient


def samples(batch: int, dim: int) -> tuple[Tensor, Tensor]:
    """Codes half way to a standard Normal prior, and draws of it."""
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(batch, dim, generator=generator) for _ in range(2))
    return (0.3 + 0.8 * x).requires_grad_(), y


def memory(name: str, batch: int, dim: int) -> float:
    """MiB that a new process grows by."""
    arguments = ["--memory", name, "--batch", str(batch), "--dim", str(dim)]
    command = [sys.executable, __file__, *arguments]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_memory(name: str, batch: int, dim: int) -> None:
    """Print the growth of this process, once torch has been warmed up by a small case."""

    def peak() -> float:  # unlike getrusage's, not the parent's
        (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return float(line) / 1024

    run(name, *samples(8, 1))
    run("dimensionwise_mmd", *samples(64, 1))
    x, y = samples(batch, dim)
    before = peak()
    run(name, x, y)
    print(peak() - before)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--dim", type=int, default=50)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory:
        print_memory(arguments.memory, arguments.batch, arguments.dim)
        return
    x, y = samples(arguments.batch, arguments.dim)
    exact = run("straightforward", x.detach().double().requires_grad_(), y.double())
    seconds: dict[str, list[float]] = {name: [] for name in CASES}
    gradients = {name: run(name, x, y) for name in CASES}  # the first call warms up
    for _ in range(arguments.repeats):
        for name, times in seconds.items():
            start = time.perf_counter()
            run(name, x, y)
            times.append(time.perf_counter() - start)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    print(f"B = {arguments.batch}, D = {arguments.dim}, {arguments.threads} threads")
    print(f"{'':32}{'ms':>10}{'speed':>9}{'MiB':>9}{'gradient off by':>18}")
    for name, median in medians.items():
        error = ((gradients[name] - exact).norm() / exact.norm()).item()
        off = "" if "RBF" in name or "joint" in name else f"{error:.1e}"
        grown = memory(name, arguments.batch, arguments.dim)
        ratio = medians["straightforward"] / median
        print(f"{name:32}{1e3 * median:10.1f}{ratio:8.1f}x{grown:9.1f}{off:>18}")


if __name__ == "__main__":
    main()
