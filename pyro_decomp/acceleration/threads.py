"""How many threads a small experiment is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pyro_decomp.training.experiment import Experiment

SMALL_BATCH = 2**14  # elements of a batch


def is_small(experiment: Experiment) -> bool:
    """Whether a batch is so small that two threads would wait for one another more than work."""
    data = experiment.data
    batch_size = min(experiment.batch_size or len(data), len(data))
    return batch_size * data.datum_size <= SMALL_BATCH


@contextmanager
def few_threads(experiment: Experiment) -> Iterator[None]:
    """One thread for a small experiment."""
    with threads(1 if is_small(experiment) else torch.get_num_threads()):
        yield


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """So many threads for torch's operations inside; None for as many as it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
