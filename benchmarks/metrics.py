"""Every metric of codes and factors with its interval, and the density-based MIG at full size.

    python benchmarks/metrics.py [--threads 2] [--rows 10000] [--dims 10]

The factors are dSprites' (3 shapes, 6 scales, 40 orientations, 32 x 32 positions). Half of the
codes know one each, behind noise and a slight rotation; the others are collapsed. Wall times of
single calls, scikit-learn imported before; memory is what this process grew by (Linux).
"""

import argparse
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from sklearn import linear_model, svm  # noqa: F401
from torch.distributions import Normal

from pyro_decomp.metrics import Score, density_mig, factor_vae_score, report

SIZES = np.array([3, 6, 40, 32, 32])


def encodings(rows: int, dims: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Locations and scales [n, d], and factors [n, 5]."""
    generator = np.random.default_rng(0)
    factors = generator.integers(SIZES, size=[rows, len(SIZES)])
    known = min(dims, len(SIZES))
    loc = 0.02 * generator.normal(size=[rows, dims])
    loc[:, :known] += 3.46 * (factors / SIZES - 0.5)[:, :known]
    loc @= np.linalg.qr(np.eye(dims) + 0.05 * generator.normal(size=[dims, dims]))[0]
    scale = np.where(np.arange(dims) < known, 0.1, 1.0) * np.ones([rows, 1])
    return loc, scale, factors


def timed(call: Callable[[], object]) -> tuple[float, object]:
    """Seconds, and what came out."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def peak() -> float:
    """The most MiB that this process has held."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return float(line) / 1024


def line(name: str, seconds: float, score: Score) -> None:
    """One row of the table."""
    interval = "" if score.interval is None else "[{:.3f}, {:.3f}]".format(*score.interval)
    print(f"{name:40}{seconds:8.2f}{score.value:10.3f}  {interval}")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--dims", type=int, default=10)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    loc, scale, factors = encodings(arguments.rows, arguments.dims)
    print(f"n = {arguments.rows}, d = {arguments.dims}, {arguments.threads} threads")
    print(f"{'':40}{'seconds':>8}{'value':>10}")
    total = 0.0
    for name in report(loc[:200], factors[:200], num_resamples=0):
        seconds, scores = timed(lambda name=name: report(loc, factors, only=[name]))
        total += seconds
        line(name, seconds, scores[name])
    print(f"{'all of these':40}{total:8.2f}")
    seconds, score = timed(lambda: factor_vae_score(loc, factors, num_resamples=0))
    line("factor_vae_score, no interval", seconds, score)
    loc, scale, factors = encodings(50_000, arguments.dims)
    before = peak()
    seconds, score = timed(lambda: density_mig((loc, scale), factors))
    line("density_mig, n = 50,000", seconds, score)
    print(f"{'  memory, MiB':40}{peak() - before:8.1f}")
    posterior = Normal(torch.from_numpy(loc).float(), torch.from_numpy(scale).float())
    seconds, score = timed(lambda: density_mig(posterior, factors, num_samples=500))
    line("density_mig, a distribution, 500 samples", seconds, score)


if __name__ == "__main__":
    main()
