"""Parameters of several members in one piece of memory, and the optimiser that trains them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.acceleration.capture import CaptureError
from pyro_decomp.acceleration.flat_parameters import split_state, twin
from pyro_decomp.acceleration.optimizers import Update

SMALL = 1e-6  # what torch adds to a norm that it divides by


class Stacked:
    """The trained parameters of K members.

    Args:
        members: The parameters of each, alike in their shapes.
        optimizer: Of the first member's parameters; one of its kind trains each stacked parameter
            as this does that of the member, whatever it decides by their shapes.
        is_flat: Keep those of a member as one vector, as a fused step alone does; the optimiser
            then trains one matrix ``[K, P]``. Otherwise it trains each with a leading K.

    Attributes:
        parameters: Each with a leading K; parts of the matrix where there is one.

    Raises:
        CaptureError: The optimiser trains what is no parameter of the objective.
    """

    def __init__(
        self,
        members: Sequence[Sequence[Tensor]],
        optimizer: torch.optim.Optimizer,
        *,
        is_flat: bool,
    ) -> None:
        self._is_flat = is_flat
        stacked = [torch.stack([t.detach() for t in each]) for each in zip(*members, strict=True)]
        if is_flat:
            sizes = [each[0].numel() for each in stacked]  # one number has no axis to flatten
            pairs = zip(stacked, sizes, strict=True)
            matrix = torch.cat([each.reshape(len(each), size) for each, size in pairs], 1)
            parts = zip(matrix.split(sizes, 1), stacked, strict=True)
            self.parameters = [part.view(each.shape) for part, each in parts]
            self.trained = [matrix]
        else:
            self.parameters, self.trained = stacked, [each.view_as(each) for each in stacked]
        for each in self.trained:
            each.requires_grad_()
        self.optimizer = twin(optimizer, self._groups(optimizer, members[0]))
        self._update = Update(self.optimizer)

    def _groups(
        self, optimizer: torch.optim.Optimizer, own: Sequence[Tensor]
    ) -> list[dict[str, Any]]:
        if self._is_flat:
            return [optimizer.param_groups[0] | {"params": self.trained}]
        stacked = {id(one): each for one, each in zip(own, self.trained, strict=True)}
        try:
            return [
                group | {"params": [stacked[id(parameter)] for parameter in group["params"]]}
                for group in optimizer.param_groups
            ]
        except KeyError:
            raise CaptureError("the optimiser trains what the objective does not") from None

    def update(
        self, gradients: Sequence[Tensor | None], norms: Tensor, limit: float | None
    ) -> None:
        """One step of the optimiser.

        Gradients are those of ``trained``; what has none is left as it is. A member's, whose norms
        are ``[K]``, is scaled down to the limit.
        """
        for each, gradient in zip(self.trained, gradients, strict=True):
            each.grad = gradient
        if limit is not None:
            factors = (limit / (norms + SMALL)).clamp(max=1.0)
            for gradient in filter(torch.is_tensor, gradients):
                gradient.mul_(factors.view(-1, *(1,) * (gradient.dim() - 1)))
        self._update()

    def optimizer_of(self, index: int) -> dict[str, Any]:
        """The optimiser's state of one member, as it would have it alone."""
        whole = self.optimizer.state_dict()
        state = {
            place: {
                name: value[index].clone() if isinstance(value, Tensor) and value.dim() else value
                for name, value in kept.items()
            }
            for place, kept in whole["state"].items()
        }
        alone = {"state": state, "param_groups": whole["param_groups"]}
        own = [p.detach()[index] for p in self.parameters]
        return split_state(alone, own) if self._is_flat else alone

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs."""
        return {
            "trained": [each.detach() for each in self.trained],
            "optimizer": self.optimizer.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave."""
        for own, kept in zip(self.trained, state["trained"], strict=True):
            own.copy_(kept)
        self.optimizer.load_state_dict(state["optimizer"])
