"""Optimisers that train one parameter each, as Pyro keeps them, stepped together. Internal."""

from collections.abc import Sequence
from typing import Any

import torch

from pyro_decomp.acceleration.flat_parameters import twin
from pyro_decomp.acceleration.optimizers import ELEMENTWISE, KERNELS, Update, is_unobserved


class JoinedUpdate:
    """The steps of several optimisers of one kind as those of one, which has all their parameters.

    Each has one parameter, and has taken a step. Where ``is_rounded``, torch's fused kernels may
    take steps, which round otherwise.

    Their settings are read at every step, and what they keep of parameters is theirs and the joined
    one's alike, so that each of them can take its steps itself, or be saved, at any time.

    Attributes:
        optimizer: The joined one.
    """

    def __init__(
        self, optimizers: Sequence[torch.optim.Optimizer], *, is_rounded: bool = False
    ) -> None:
        self._own, self._is_rounded = list(optimizers), is_rounded
        self.optimizer = twin(self._own[0], [])
        vars(self.optimizer).pop("step", None)  # a scheduler's, of the optimiser that it is of
        self._update = Update(self.optimizer)
        self._join()

    def __call__(self) -> bool:
        """Change the parameters; False, and nothing is changed, if they are not to be joined."""
        if not all(map(_may_be_joined, self._own)):
            return False
        kept = self.optimizer.state
        is_other = self._settings != self._groups() or not all(
            kept.get(each) is own.state.get(each) for own, each in self._each()
        )
        if is_other:
            self._join()
        self._update()
        if is_other:  # what was cleared was made anew
            self.hand_back()
        return True

    def hand_back(self) -> None:
        """Let the optimisers have what the joined one has been given to keep instead."""
        for own, parameter in self._each():
            if parameter in self.optimizer.state:
                own.state[parameter] = self.optimizer.state[parameter]
            else:
                own.state.pop(parameter, None)
        self._join()

    def _join(self) -> None:
        """Take over settings and what is kept; parameters of equal settings are one group."""
        self._settings = [dict(group) for group in self._groups()]
        groups: list[dict[str, Any]] = []
        for group in self._settings:
            settings = {name: value for name, value in group.items() if name != "params"}
            if self._is_rounded and _has_kernel(self.optimizer, group):
                settings["fused"] = True
            for known in groups:
                if known == settings | {"params": known["params"]}:
                    known["params"].extend(group["params"])
                    break
            else:
                groups.append(settings | {"params": list(group["params"])})
        self.optimizer.param_groups = groups
        self.optimizer.state.clear()
        self.optimizer.state.update(
            {each: own.state[each] for own, each in self._each() if each in own.state}
        )

    def _groups(self) -> list[dict[str, Any]]:
        return [own.param_groups[0] for own in self._own]

    def _each(self) -> list[tuple[torch.optim.Optimizer, torch.Tensor]]:
        return [(own, own.param_groups[0]["params"][0]) for own in self._own]


def can_be_joined(optimizers: Sequence[torch.optim.Optimizer]) -> bool:
    """Whether optimisers of one parameter each do together what they do one after another."""
    kinds = {type(each) for each in optimizers}
    return len(kinds) == 1 and all(map(_may_be_joined, optimizers))


def _may_be_joined(optimizer: torch.optim.Optimizer) -> bool:
    return (
        type(optimizer) in ELEMENTWISE
        and len(optimizer.param_groups) == 1
        and len(optimizer.param_groups[0]["params"]) == 1
        and is_unobserved(optimizer, but_for_schedulers=True)
    )


def _has_kernel(optimizer: torch.optim.Optimizer, group: dict[str, Any]) -> bool:
    """Whether a fused kernel may take the steps of parameters for which none was chosen."""
    plain = ("fused", "foreach", "capturable", "differentiable")
    return (
        type(optimizer) in KERNELS
        and not any(group[name] for name in plain)
        and group["fused"] is None
        and all(p.is_cpu and p.is_floating_point() for p in group["params"])
    )
