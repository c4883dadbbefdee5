"""How many threads a small batch is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pyro_decomp.data.batches import Batch

SMALL_BATCH = 2**14  # elements of a batch


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
