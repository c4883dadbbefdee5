"""A step by running the programs and autograd."""

import math
from dataclasses import dataclass
from functools import partial

import pyro
import torch
from torch import Tensor

from pyro_decomp.acceleration.precision import in_precision
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.data.batches import Batch
from pyro_decomp.elbo import Estimate
from pyro_decomp.elbo.nonfinite import blame_terms
from pyro_decomp.errors import NonFiniteError


@dataclass(frozen=True)
class StepResult:
    """The values of one step; its gradients are in the parameters.

    Attributes:
        values: ``objective``, ``elbo`` and every term, in nats per datum.
        estimate: The traces behind them, where the programs were run.
        norm: Of the gradient, before any clipping, where it was computed with it.
    """

    values: dict[str, float]
    estimate: Estimate | None = None
    norm: float | None = None


class EagerStep:
    """Runs the model and the guide for every step."""

    def __init__(self, source: StepSource, precision: str = "float32") -> None:
        self._source = source
        self._precision = precision

    vector = None  # every parameter is by itself

    def separate(self) -> None:
        """Do nothing: the parameters are always separate tensors."""

    @property
    def trained(self) -> list[Tensor]:
        """The parameters that an optimiser is to train."""
        return list(self._source.parameters.values())

    def gradients(self) -> dict[str, Tensor]:
        """The gradients of the last step by the names of the parameters."""
        named = self._source.parameters.items()
        return {name: p.grad for name, p in named if p.grad is not None}

    def __call__(self, batch: Batch, step: int) -> StepResult:
        """Compute values and gradients.

        Raises:
            NonFiniteError: The objective is infinite or not a number; it says what made it so.
        """
        with in_precision(self._precision):
            estimate, values = self._evaluated(batch, step)
            for parameter in self._source.parameters.values():
                parameter.grad = None
            (-estimate.objective).backward()
        return StepResult(values, estimate)

    def estimate(self, batch: Batch, step: int) -> tuple[Estimate, dict[str, float]]:
        """The objective on a batch and all values by name, without gradients of anything.

        Raises:
            NonFiniteError: As for a step.
        """
        with in_precision(self._precision):
            return self._evaluated(batch, step)

    def _evaluated(self, batch: Batch, step: int) -> tuple[Estimate, dict[str, float]]:
        """The objective on a batch, finite, and all values by name."""
        evaluate = partial(self._source.evaluate, *batch)
        refused, noise = None, torch.get_rng_state()
        try:
            estimate = evaluate()
        except ValueError as error:  # a distribution may refuse what is not finite: ask its terms
            refused = error
            torch.set_rng_state(noise)
            with pyro.validation_enabled(False):
                estimate = evaluate()
        named = estimate.logged
        numbers = torch.stack([value.detach() for value in named.values()]).tolist()
        values = dict(zip(named, numbers, strict=True))
        if not (math.isfinite(values["objective"]) or self._source.takes_any):
            raise NonFiniteError(blame_terms(estimate, values, batch, step)) from refused
        if refused is not None:
            raise refused
        return estimate, values
