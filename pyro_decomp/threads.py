"""How many threads a small experiment is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pyro_decomp.data.batches import Data
from pyro_decomp.experiment import Experiment

SMALL_BATCH = 2**14  # elements of a batch


@contextmanager
def few_threads(experiment: Experiment) -> Iterator[None]:
    """One thread for batches so small that two would wait for one another more than work."""
    before, data = torch.get_num_threads(), Data.of(experiment.data)
    batch_size = min(experiment.batch_size or len(data), len(data))
    if batch_size * data.datum_size <= SMALL_BATCH:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
