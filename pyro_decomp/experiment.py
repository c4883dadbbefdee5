"""What a run trains: a model, a guide, data and an objective, with how long and how fast."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from pyro_decomp.data import as_tensor
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.errors import ExperimentError

Program = Callable[..., Any]
OptimizerFactory = Callable[[Iterable[torch.Tensor]], torch.optim.Optimizer]


@dataclass
class Experiment:
    """Everything that a run needs besides its seed, device and folder.

    Args:
        model: A Pyro program ``model(x)`` that opens one data plate with the size of the whole data
            set, ``pyro.plate("data", N, subsample=x)``.
        guide: A Pyro program ``guide(x)`` with the same plate and latent sites.
        data: What to train on: an array, a tensor, a path to ``.npy``, ``.npz`` or ``.csv``, or a
            torch ``Dataset``; its first axis is the data.
        elbo: The objective.
        test_data: Held-out data for evaluation, of the same kinds; none by default.
        epochs: Passes over the data.
        batch_size: Data per step; None takes the whole data set at once.
        optimizer: Builds the optimiser from the parameters; by default Adam with rate 1e-3.
        clip_grad_norm: Largest Euclidean norm of the whole gradient; None never clips.
        modules: Networks that ``model`` and ``guide`` use but that cannot be found by looking at
            them (they are neither modules, nor methods of one, nor do they close over one).
    """

    model: Program
    guide: Program
    data: Any
    elbo: TermsELBO
    test_data: Any = None
    epochs: int = 100
    batch_size: int | None = None
    optimizer: OptimizerFactory = field(default=partial(torch.optim.Adam, lr=1e-3, fused=True))
    clip_grad_norm: float | None = None
    modules: Sequence[nn.Module] = ()

    def __post_init__(self) -> None:
        self.data = as_tensor(self.data)
        if self.test_data is not None:
            self.test_data = as_tensor(self.test_data)
            if self.test_data.shape[1:] != self.data.shape[1:]:
                raise ExperimentError(
                    f"test_data: expected data of shape {tuple(self.data.shape[1:])} like the "
                    f"training data, got {tuple(self.test_data.shape[1:])}"
                )
        for name in ("model", "guide", "optimizer"):
            if not callable(getattr(self, name)):
                raise ExperimentError(
                    f"{name}: expected a callable, got {type(getattr(self, name)).__name__}"
                )
        if not isinstance(self.elbo, TermsELBO):
            raise ExperimentError(
                "elbo: expected an objective of pyro_decomp such as AggregateELBO(), "
                f"got {type(self.elbo).__name__}"
            )
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if name == "batch_size" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ExperimentError(f"{name}: expected a positive whole number, got {value!r}")
        if self.clip_grad_norm is not None and not self.clip_grad_norm > 0:
            raise ExperimentError(
                f"clip_grad_norm: expected a positive number, got {self.clip_grad_norm!r}"
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the data; the last may be smaller."""
        size = len(self.data)
        return -(-size // min(self.batch_size or size, size))

    @property
    def total_steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.steps_per_epoch
