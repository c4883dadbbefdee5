"""Gradients between the steps of Pyro's ``SVI``, and what its optimisers do with them.

Internal to :mod:`.svi`.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

from pyro.infer.util import zero_grads
from pyro.optim import PyroOptim
from pyro.optim.lr_scheduler import PyroLRScheduler
from torch import Tensor

from pyro_decomp.acceleration import JoinedUpdate, can_be_joined


@contextmanager
def gradients_kept(parameters: Iterable[Tensor]) -> Iterator[None]:
    """Put back the gradients of parameters afterwards, which no hook of theirs hears of."""
    before = [(parameter, parameter.grad) for parameter in parameters]
    with _without_hooks([parameter for parameter, _ in before]):
        try:
            yield
        finally:
            for parameter, gradient in before:
                parameter.grad = gradient


class Gradients:
    """The gradients of parameters as autograd and Pyro leave them.

    Args:
        parameters: Of which a step gives gradients.
        optimized: Those that an optimiser is given, in the same order, which come first.
    """

    def __init__(self, parameters: Iterable[Tensor], optimized: Iterable[Tensor]) -> None:
        self._parameters, self._optimized = list(parameters), list(optimized)
        self._left: list[tuple[Tensor | None, int]] = []

    @contextmanager
    def added(self) -> Iterator[None]:
        """Add the gradients that are put in place inside to those before; then hooks have run."""
        before = [
            (p.grad, self._is_zero(index, p.grad)) for index, p in enumerate(self._parameters)
        ]
        with _without_hooks(self._parameters):
            yield
        for parameter, (earlier, is_zero) in zip(self._parameters, before, strict=True):
            if parameter.grad is None:
                parameter.grad = earlier
                continue
            for hook in list((parameter._backward_hooks or {}).values()):
                changed = hook(parameter.grad)
                parameter.grad = parameter.grad if changed is None else changed
            if earlier is not None and not is_zero:
                parameter.grad = parameter.grad + earlier
            for hook in list((parameter._post_accumulate_grad_hooks or {}).values()):
                hook(parameter)

    def zero(self) -> None:
        """Leave zeros, as Pyro does after its step."""
        zero_grads(self._optimized)
        left = [parameter.grad for parameter in self._optimized]
        self._left = [(g, 0 if g is None else g._version) for g in left]

    def _is_zero(self, index: int, gradient: Tensor | None) -> bool:
        """Whether the gradient of a parameter is the zeros that the last step left."""
        if gradient is None or index >= len(self._left):
            return False
        left, version = self._left[index]
        return gradient is left and gradient._version == version


class Optimization:
    """A step of one of Pyro's optimisers, which has taken one of every parameter before.

    They are stepped together where nobody sees that, and as Pyro does where not.

    Attributes:
        joined: Has all parameters, and what is kept of them.
    """

    def __init__(self, optim: PyroOptim, parameters: list[Tensor], *, is_rounded: bool) -> None:
        self._optim, self._parameters = optim, parameters
        self._objects = self._found()
        own = [getattr(each, "optimizer", each) for each in self._objects]  # of a scheduler
        is_plain = type(optim).__call__ in (PyroOptim.__call__, PyroLRScheduler.__call__)
        is_clipped = any(optim.grad_clip[each] is not None for each in parameters)
        self._is_joined = is_plain and not is_clipped and can_be_joined(own)
        self._update = JoinedUpdate(own, is_rounded=is_rounded and self._is_joined)
        self.joined = self._update.optimizer

    def is_as_made(self) -> bool:
        """Whether the parameters have the torch optimisers that they had at first."""
        return all(map(is_, self._found(), self._objects))

    def hand_back(self) -> None:
        """Let Pyro's optimiser have what the joined one was given."""
        self._update.hand_back()

    def __call__(self) -> None:
        """Change the parameters."""
        if not (self._is_joined and self._update()):
            self._optim(self._parameters)

    def _found(self) -> list[Any]:
        return [self._optim.optim_objs.get(each) for each in self._parameters]


@contextmanager
def _without_hooks(parameters: Iterable[Tensor]) -> Iterator[None]:
    """Let no hooks of parameters run inside."""
    found = [
        each for p in parameters for each in (p._backward_hooks, p._post_accumulate_grad_hooks)
    ]
    kept: list[tuple[Any, Any]] = [(hooks, dict(hooks)) for hooks in found if hooks]
    for hooks, _ in kept:
        hooks.clear()
    try:
        yield
    finally:
        for hooks, each in kept:
            hooks.update(each)
