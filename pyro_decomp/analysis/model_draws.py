"""Draws of a run's model with some of its latent sites given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from pyro import poutine
from torch import Tensor

from pyro_decomp.analysis.inference import global_latents, likelihood_mean, local_latents
from pyro_decomp.analysis.latents import on_device
from pyro_decomp.data.batches import AnyData, Batch
from pyro_decomp.programs.sites import Site, data_plate
from pyro_decomp.programs.substitute import Substitute
from pyro_decomp.training.run import Run

BATCH_SIZE = 500  # draws at once


@dataclass(frozen=True)
class Draws:
    """Draws of a model, data along the first axis of everything.

    Attributes:
        latents: Latent site of a datum to its values, ``[n, ...]``.
        x: The mean of p(x|z), ``[n, ...]``; a draw of it where it has no mean that is known.
    """

    latents: dict[str, Shaped[Tensor, "n ..."]]
    x: Shaped[Tensor, "n ..."]


def joined(parts: Sequence[Draws]) -> Draws:
    """Draws after one another."""
    names = parts[0].latents
    return Draws(
        {name: torch.cat([part.latents[name] for part in parts]) for name in names},
        torch.cat([part.x for part in parts]),
    )


class ModelDraws:
    """A run's model, drawn from; its latent sites outside the data plate are drawn once, here.

    These are drawn from the guide, which has learned them.

    Args:
        run: The run.
        x: What the model takes, used in order, and from the start again where more is drawn. By
            default the training data, of which fewer draws take as many, spread evenly over them.

    Attributes:
        data: What the model takes.
        program: The model.
    """

    def __init__(self, run: Run, x: AnyData | None = None) -> None:
        self.data = on_device(run, x)
        self._is_spread = x is None
        self.program = run.model
        guide = poutine.trace(run.guide).get_trace(*self.data[:1])
        self._outside = global_latents(guide)
        self._data_dim = int(data_plate(guide).dim)

    def __call__(self, given: Mapping[str, Tensor], total: int) -> Draws:
        """So many draws.

        Args:
            given: Latent sites of a datum to their values, ``[total, ...]``.
            total: How many.
        """
        parts = []
        for start in range(0, total, BATCH_SIZE):
            stop = min(start + BATCH_SIZE, total)
            rows = torch.arange(start, stop, device=self.data.device)
            if self._is_spread and total < len(self.data):
                rows = rows * len(self.data) // total
            batch = self.data[rows % len(self.data)]
            trace = self.trace({name: value[start:stop] for name, value in given.items()}, batch)
            parts.append(Draws(local_latents(trace), likelihood_mean(trace, batch[0])))
        return joined(parts)

    def trace(self, given: Mapping[str, Tensor], batch: Batch) -> poutine.Trace:
        """One run of the model."""

        def value_of(site: Site) -> Tensor | None:
            name = site["name"]
            if name in self._outside or name not in given:
                return self._outside.get(name)
            return given[name].movedim(0, self._data_dim - len(site["fn"].event_shape))

        with poutine.trace() as trace, Substitute(value_of):
            self.program(*batch)
        return trace.trace
