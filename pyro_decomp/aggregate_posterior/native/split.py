"""One computation in C, split between threads."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


def num_shares(work: int, least: int) -> int:
    """Into how many shares work is cut: one a thread of torch, each at least ``least`` large."""
    return max(1, min(torch.get_num_threads(), work // least))


def run_split(function: Callable[[int, int, int], int], units: int, shares: int) -> None:
    """Call ``function(share, begin, end)`` for shares of a range, each in a thread of its own.

    How the range is cut depends on the arguments alone. The function is to be C code, during which
    ctypes lets go of the GIL, and to give 0; it is to keep alive what it reads and writes, as an
    interrupt may leave threads at work.

    Raises:
        MemoryError: A call gave something else.
    """
    ends = [units * share // shares for share in range(shares + 1)]
    first, *others = zip(range(shares), ends[:-1], ends[1:], strict=True)
    elsewhere = [_pool(os.getpid()).submit(function, *call) for call in others]
    results = [function(*first), *(future.result() for future in elsewhere)]
    if any(results):
        raise MemoryError("sums over pairs: no memory for a block of them")


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork does not inherit them."""
    return ThreadPoolExecutor(thread_name_prefix=f"pyro_decomp-{process}")
