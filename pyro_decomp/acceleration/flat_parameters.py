"""Parameters as parts of one vector, on which an optimiser takes its step. Internal."""

import copy
import operator
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.acceleration.optimizers import Update, is_elementwise, is_unobserved


def can_be_flat(parameters: Sequence[Tensor], optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimiser does the same to one vector as to these parameters, and nobody sees."""
    first = parameters[0]
    return (
        is_elementwise(optimizer)
        and is_unobserved(optimizer)
        and len(optimizer.param_groups) == 1
        and len(own := optimizer.param_groups[0]["params"]) == len(parameters)
        and all(one is other for one, other in zip(own, parameters, strict=True))
        and all(p.is_contiguous() and p.dtype == first.dtype for p in parameters)
        and all(p.device == first.device for p in parameters)
    )


def flattened(parameters: Sequence[Tensor]) -> Tensor:
    """All numbers of parameters as one vector, which the parameters become views of."""
    vector = torch.cat([parameter.detach().flatten() for parameter in parameters])
    for parameter, part in zip(parameters, split(vector, parameters), strict=True):
        parameter.data = part
    return vector.requires_grad_()


def split(value: Any, parameters: Sequence[Tensor]) -> list[Any]:
    """Parts of a vector in the shapes of parameters; a single number is the same for each."""
    if not isinstance(value, Tensor) or not value.dim():
        return [value for _ in parameters]
    parts = value.split([parameter.numel() for parameter in parameters])
    return [part.view(each.shape) for part, each in zip(parts, parameters, strict=True)]


def twin(
    optimizer: torch.optim.Optimizer, param_groups: list[dict[str, Any]]
) -> torch.optim.Optimizer:
    """An optimiser of the same kind that trains other tensors, and keeps nothing of them yet."""
    other = copy.copy(optimizer)
    vars(other).update(vars(optimizer))
    other.state = defaultdict(dict)
    other.param_groups = param_groups
    return other


def make_update(optimizer: torch.optim.Optimizer, vector: Tensor | None = None) -> Update:
    """What takes an optimiser's steps, on the vector that its parameters are views of, if any."""
    return Update(optimizer) if vector is None else FlatUpdate(optimizer, vector)


class FlatUpdate(Update):
    """``optimizer.step()``, taken on the vector that all its parameters are views of.

    A twin of the optimiser, with its settings as they are at every step, trains the vector. What
    the optimiser keeps of a parameter are parts of what the twin keeps of the vector, so that it
    can be saved, or take its steps itself, at any time.

    Args:
        optimizer: Elementwise, of parameters that are views of ``vector`` in this order.
        vector: Has the gradient when this is called.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, vector: Tensor) -> None:
        self._own = optimizer
        self.vector: Tensor = vector
        super().__init__(twin(optimizer, [self._settings()]))
        self._is_shared = False
        self._given: list[dict[str, Any]] = []  # to the optimiser, for every parameter

    def adopt(self) -> bool:
        """Take over what the optimiser keeps; False if parameters have come differently far."""
        self._optimizer.state.clear()
        self._is_shared = False
        kept = [self._own.state.get(p, {}) for p in self._parameters()]
        if not any(kept):
            return True
        joined = {name: _joined([each.get(name) for each in kept]) for name in kept[0]}
        is_alike = all(each.keys() == kept[0].keys() for each in kept)
        if not is_alike or any(value is _DIFFERENT for value in joined.values()):
            return False
        self._optimizer.state[self.vector] = joined
        self._share()
        return True

    def may_go_on(self) -> bool:
        """Whether the optimiser is still one whose step can be taken on the vector."""
        is_one = len(self._own.param_groups) == 1 and is_unobserved(self._own)
        return is_one and (self._is_as_shared() or self.adopt())

    def _is_as_shared(self) -> bool:
        """Whether the optimiser keeps what it was given to; else it was cleared, or loaded."""
        found = map(self._own.state.get, self._parameters())
        return not self._is_shared or all(map(operator.is_, found, self._given))

    def __call__(self) -> None:
        """Change the vector."""
        self._optimizer.param_groups[0] = self._settings()
        super().__call__()
        if not self._is_shared:
            self._share()

    def leave(self) -> None:
        """Let the optimiser take its own steps from here on."""
        self._share()
        for kept in self._own.state.values():
            for name, value in kept.items():
                if isinstance(value, Tensor) and not value.dim():  # a count that parameters share
                    kept[name] = value.clone()

    def _share(self) -> None:
        """Let the optimiser find in its state what the twin has come to."""
        parameters, kept = self._parameters(), self._optimizer.state.get(self.vector, {})
        each = {name: split(value, parameters) for name, value in kept.items()}
        self._given = [
            {n: parts[index] for n, parts in each.items()} for index in range(len(parameters))
        ]
        if kept:
            self._own.state.update(zip(parameters, self._given, strict=True))
        self._is_shared = bool(kept)

    def _parameters(self) -> list[Tensor]:
        parameters: list[Tensor] = self._own.param_groups[0]["params"]
        return parameters

    def _settings(self) -> dict[str, Any]:
        return self._own.param_groups[0] | {"params": [self.vector]}


def split_state(state: dict[str, Any], parameters: Sequence[Tensor]) -> dict[str, Any]:
    """An optimiser's ``state_dict`` of one vector as that of the parameters it is made of."""
    (group,) = state["param_groups"]
    each = {name: split(value, parameters) for name, value in state["state"].get(0, {}).items()}
    found = {
        index: {name: _own_copy(values[index]) for name, values in each.items()}
        for index in range(len(parameters) if each else 0)
    }
    return {"state": found, "param_groups": [group | {"params": list(range(len(parameters)))}]}


def _own_copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


_DIFFERENT = object()  # in place of what cannot be one value for all parameters


def _joined(values: Sequence[Any]) -> Any:
    """What an optimiser keeps of parameters as what it would keep of their vector."""
    first = values[0]
    if not isinstance(first, Tensor):
        return first if all(value is None or value == first for value in values) else _DIFFERENT
    if not all(isinstance(value, Tensor) for value in values):
        return _DIFFERENT
    if first.dim():
        return torch.cat([value.flatten() for value in values])
    return first.clone() if all(torch.equal(value, first) for value in values) else _DIFFERENT
