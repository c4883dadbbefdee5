"""Data that are not in memory, looked at as they are first trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_decomp.data.batches import Batch
from pyro_decomp.seeds import derive
from pyro_decomp.training.data_support import (
    Look,
    check_stored,
    is_stored,
    looked_at_first,
    looking,
    traced,
)
from pyro_decomp.training.experiment import Experiment


class Unseen:
    """Checks data that are not in memory before they are first trained on.

    In the first epoch every batch is held against the same as data in memory before training, by
    rows of the whole data; from the second epoch on nothing is done.

    Args:
        experiment: What is trained, prepared.
        modules: Its networks.
        seed: Of the run, which tells the rows of a batch.
        streams: Of the batches of a step.

    Attributes:
        is_due: Whether there may be data that were not looked at yet.
    """

    def __init__(
        self, experiment: Experiment, modules: Sequence[nn.Module], seed: int, *streams: int
    ) -> None:
        self._experiment, self._modules = experiment, modules
        self._data = experiment.data
        self.is_due = is_stored(self._data) and len(self._data) > len(looked_at_first(self._data))
        self._size = min(experiment.batch_size or len(self._data), len(self._data))
        self._seed, self._streams = seed, streams
        self._rows: list[Sequence[Tensor]] | None = None
        self._look: Look | None = None

    def check(self, step: int, *batches: Batch | None) -> None:
        """Check the batches of a step, one for each stream.

        Args:
            step: Steps done before it.
            batches: Its data; None for none.

        Raises:
            ModelError: As :func:`check_data`.
            DataError: A value is not finite.
        """
        if not self.is_due:
            return
        if step >= self._experiment.steps_per_epoch:
            self.is_due, self._rows, self._look = False, None, None
            return
        if self._rows is None:
            orders = [self._data.order(derive(self._seed, s, 0)) for s in self._streams]
            if self._experiment.steps_per_epoch == 1:
                orders = [torch.arange(len(self._data)) for _ in self._streams]
            self._rows = [order.split(self._size) for order in orders]
        for batch, rows in zip(batches, self._rows, strict=False):
            if batch is not None:
                self._check(batch, rows[step])

    def _check(self, batch: Batch, rows: Tensor) -> None:
        check_stored(self._data, batch, rows, "data")
        if self._look is not None and self._look.is_direct:
            self._look.check(batch, rows)
            return
        with looking(self._experiment, self._modules):
            if self._look is None:
                first = traced(self._experiment, batch, rows, "data")
                self._look = Look(self._experiment, first, batch, "data")
            self._look.check(batch, rows)
