"""Sprites: images a second, and the whole grid drawn and kept at a bit a pixel.

    python benchmarks/sprites.py [--threads 2] [--repeats 5] [--batch 2048]

Times are the least of the repeats; CPU seconds tell how busy the machine was. Memory is what the
process's peak grows by while the grid is drawn (Linux).
"""

import argparse
import resource
import time
from collections.abc import Callable

import torch

from pyro_decomp.data.dsprites import packed
from pyro_decomp.data.rendered.sprites import SIZES, sprites


def least_time(call: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of so many calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def peak() -> float:
    """MiB that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print a table for each size, and then the whole grid of 64 x 64."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=2048)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    before = peak()
    start, start_cpu = time.perf_counter(), time.process_time()
    data = packed(sprites())
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    grown = peak() - before
    print(f"whole grid of 64 x 64, packed: {seconds:.1f} s ({cpu:.1f} CPU s), {grown:.0f} MiB")
    factors = data.sample_factors(arguments.batch)
    later = least_time(lambda: data.images(factors), arguments.repeats)
    print(f"unpacked: {arguments.batch / later:,.0f} images/s")

    print("size | first batch, s | images/s")
    for size in SIZES:
        data = sprites(size)
        factors = data.sample_factors(arguments.batch)
        first = least_time(lambda data=data, factors=factors: data.images(factors), 1)
        later = least_time(
            lambda data=data, factors=factors: data.images(factors), arguments.repeats
        )
        print(f"{size:4d} | {first:14.2f} | {arguments.batch / later:,.0f}")


if __name__ == "__main__":
    main()
