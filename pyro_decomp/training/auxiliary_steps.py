"""The training of auxiliary networks, a step of each after every step of a run."""

import math
from collections.abc import Iterable, Mapping
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.acceleration import make_update
from pyro_decomp.data.batches import Batch
from pyro_decomp.divergences.auxiliary import Auxiliary, guide_codes, make_optimizer
from pyro_decomp.elbo.nonfinite import blame_gradients
from pyro_decomp.errors import NonFiniteError
from pyro_decomp.training.experiment import Program


class AuxiliarySteps:
    """The auxiliary networks of an objective, each with its optimiser.

    Args:
        auxiliaries: By name; there may be none.
    """

    def __init__(self, auxiliaries: Mapping[str, Auxiliary]) -> None:
        self._auxiliaries = auxiliaries
        self._optimizers = {
            n: make_optimizer(auxiliary.optimizer, auxiliary.module.parameters())
            for n, auxiliary in auxiliaries.items()
        }

    def __bool__(self) -> bool:
        return bool(self._auxiliaries)

    def take(self, pairs: Any, guide: Program, batch: Batch, step: int) -> dict[str, float]:
        """One step of each, on the traces of a batch and the codes of an independent batch.

        Args:
            pairs: The traces, of the first particle.
            guide: Gives the codes; it is left as it is.
            batch: The independent batch.
            step: The step that this is a part of, from 1.

        Returns:
            The loss of each, ``NAME_loss``.

        Raises:
            NonFiniteError: A loss or gradient is not finite.
        """
        losses: dict[str, float] = {}
        codes = cache(partial(guide_codes, guide, *batch))
        of_its = "try a smaller learning rate of its optimiser"
        if step == 1:
            of_its = "no step was taken before it, so it is in the network or its codes"
        for name, auxiliary in self._auxiliaries.items():
            optimizer = self._optimizers[name]
            loss = auxiliary.loss(pairs, codes)
            losses[f"{name}_loss"] = loss.item()
            if not math.isfinite(losses[f"{name}_loss"]):
                raise NonFiniteError(f"step {step}: {name}_loss = {loss.item()} ({of_its})")
            optimizer.zero_grad()
            loss.backward()
            weights = self._parameters_of(name)
            if not math.isfinite(norm(weights.values())):
                found = {n: w.grad for n, w in weights.items() if w.grad is not None}
                raise NonFiniteError(blame_gradients(found, of_its, step))
            make_update(optimizer)()
        return losses

    def parameters(self) -> dict[str, Tensor]:
        """All parameters, by the name of their network and their own."""
        return {n: w for name in self._auxiliaries for n, w in self._parameters_of(name).items()}

    def state_dict(self) -> dict[str, Any]:
        """The state of each optimiser, by the name of its network."""
        return {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave."""
        for name, optimizer in self._optimizers.items():
            optimizer.load_state_dict(state[name])

    def _parameters_of(self, name: str) -> dict[str, Tensor]:
        weights = self._auxiliaries[name].module.named_parameters()
        return {f"{name}.{n}": weight for n, weight in weights}


def norm(trained: Iterable[Tensor]) -> float:
    """The norm of the whole gradient."""
    return torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None]).item()
