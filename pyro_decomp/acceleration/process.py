"""Settings of the process under which training is fastest. Internal."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from pyro_decomp import arguments
from pyro_decomp.data.batches import Batch

# Of glibc's <malloc.h>, and the most that it takes.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST_FROM_HEAP, KEPT = 32 * 2**20, 2**31 - 1

PER_PROCESSOR = 16  # threads or processes: more than wait for one another to no end

SMALL_BATCH = 2**14  # elements of a batch


@contextmanager
def process_settings(num_threads: int | None) -> Iterator[None]:
    """Use so many threads inside, take denormal numbers for 0, and keep freed memory.

    Arithmetic on denormal numbers, below 1e-38 in 32 bits, takes some hundred cycles; memory that
    goes back to the system after every step is cleared by it, page by page, before the next.
    """
    keep_freed_memory()
    with threads(num_threads):
        flushed = torch.set_flush_denormal(True)
        try:
            yield
        finally:
            if flushed:
                torch.set_flush_denormal(False)


def peak_memory() -> int | None:
    """The most memory that this process ever had resident, in bytes; None where it is not known."""
    try:
        import resource  # noqa: PLC0415 (not everywhere)
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


@cache
def keep_freed_memory() -> bool:
    """Have the C library keep what is freed for the next tensors; False where it is another's.

    It is for the rest of the process, and once.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    done = [mallopt(M_MMAP_THRESHOLD, LARGEST_FROM_HEAP), mallopt(M_TRIM_THRESHOLD, KEPT)]
    return all(done)


def check_count(**counts: int | None) -> None:
    """Refuse more threads or processes than this machine could have any use for.

    More than it has processors are allowed: how many there are is part of what gives a run its
    bits, and these may be those of a larger machine.

    Args:
        **counts: How many by name; None is not looked at.

    Raises:
        ArgumentError: There are more than 16 for each processor.
    """
    most = PER_PROCESSOR * (os.cpu_count() or 1)
    for name, count in counts.items():
        arguments.whole(**arguments.given(**{name: count}))
        if count is not None and count > most:
            expected = f"a whole number from 1 to {most}, {PER_PROCESSOR} for each processor"
            arguments.refuse(name, f"{expected} of this machine", count)


def is_small(batch: Batch) -> bool:
    """Whether a batch is so small that two threads would wait for one another more than work."""
    return sum(tensor.numel() for tensor in batch) <= SMALL_BATCH


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """So many threads for torch's operations inside; None for as many as it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
