"""Programs that keep state between steps, each in another place.

``path`` of a row is what a refusal has to name: a word of the place where the state is.
"""

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor, nn, optim

from pyro_decomp import Experiment
from tests.unusual.base import Usual
from tests.unusual.networks import dropout
from tests.unusual.optimizers import OPTIMIZERS, Parameters

CALLS = {"likelihood": 0}
number_of_calls = 0


def noise_after(calls: float) -> float:
    """A standard deviation that falls from .6 to .2, by half in 30 calls."""
    return 0.2 + 0.4 * 0.5 ** (calls / 30)


class OfNoise(Usual):
    """The likelihood's standard deviation is a method; it is what the state changes."""

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.decoder(z), self.noise(z)).to_event(1)

    def noise(self, z: Tensor) -> Any:
        raise NotImplementedError


class BufferAssignedAnew(OfNoise):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.tensor(1.0))

    def noise(self, z: Tensor) -> Any:
        if self.training:
            self.level = 0.2 + 0.97 * (self.level - 0.2)
        return self.level


class BufferChangedInPlace(OfNoise):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("level", torch.tensor(1.0))

    def noise(self, z: Tensor) -> Any:
        with torch.no_grad():
            self.level.mul_(0.98)
        return 0.1 + 0.5 * self.level.clone()


class AverageInBuffer(OfNoise):
    """What the buffer becomes depends on the draws."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.tensor(0.5))

    def noise(self, z: Tensor) -> Any:
        self.average = 0.9 * self.average + 0.1 * z.detach().abs().mean()
        return 0.2 + self.average


class AverageInAttribute(OfNoise):
    """The same in a tensor that is no buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.average = torch.tensor(0.5)

    def noise(self, z: Tensor) -> Any:
        self.average = 0.9 * self.average + 0.1 * z.detach().abs().mean()
        return 0.2 + self.average


class CounterInAttribute(OfNoise):
    calls = 0

    def noise(self, z: Tensor) -> Any:
        self.calls += 1
        return noise_after(self.calls)


class CounterOfClass(OfNoise):
    calls: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).calls = 0

    def noise(self, z: Tensor) -> Any:
        type(self).calls += 1
        return noise_after(type(self).calls)


class CounterInGlobal(OfNoise):
    def __init__(self) -> None:
        global number_of_calls  # noqa: PLW0603 (that is the case)
        super().__init__()
        number_of_calls = 0

    def noise(self, z: Tensor) -> Any:
        global number_of_calls  # noqa: PLW0603
        number_of_calls += 1
        return noise_after(number_of_calls)


class CounterInGlobalDictionary(OfNoise):
    def __init__(self) -> None:
        super().__init__()
        CALLS["likelihood"] = 0

    def noise(self, z: Tensor) -> Any:
        CALLS["likelihood"] += 1
        return noise_after(CALLS["likelihood"])


class ListInClosure(OfNoise):
    def __init__(self) -> None:
        super().__init__()
        seen: list[int] = []

        def noise_of_seen() -> float:
            seen.append(len(seen))
            return noise_after(len(seen))

        self._of_seen = noise_of_seen

    def noise(self, z: Tensor) -> Any:
        return self._of_seen()


class NumberInClosure(OfNoise):
    def __init__(self) -> None:
        super().__init__()
        calls = 0

        def noise_of_calls() -> float:
            nonlocal calls
            calls += 1
            return noise_after(calls)

        self._of_calls = noise_of_calls

    def noise(self, z: Tensor) -> Any:
        return self._of_calls()


class MutableDefault(OfNoise):
    def __init__(self) -> None:
        super().__init__()

        def of_seen(seen: list[int] = []) -> float:  # noqa: B006 (that is the case)
            seen.append(0)
            return noise_after(len(seen))

        self._of_seen = of_seen

    def noise(self, z: Tensor) -> Any:
        return self._of_seen()


class Counted(OfNoise):
    def __init__(self) -> None:
        super().__init__()
        self.count = itertools.count()

    def noise(self, z: Tensor) -> Any:
        return noise_after(next(self.count))


class Cycled(OfNoise):
    def __init__(self) -> None:
        super().__init__()
        self.cycle = itertools.cycle([0.3, 0.5, 0.8])

    def noise(self, z: Tensor) -> Any:
        return next(self.cycle)


class Generated(OfNoise):
    """A generator function's own variables."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = self._levels()

    @staticmethod
    def _levels() -> Iterator[float]:
        for calls in itertools.count():
            yield noise_after(calls)

    def noise(self, z: Tensor) -> Any:
        return next(self.levels)


class NumpyGenerator(OfNoise):
    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(0)

    def noise(self, z: Tensor) -> Any:
        return float(self.generator.uniform(0.3, 0.9))


class PythonGenerator(OfNoise):
    def __init__(self) -> None:
        super().__init__()
        self.generator = random.Random(0)

    def noise(self, z: Tensor) -> Any:
        return self.generator.uniform(0.3, 0.9)


class GlobalNumpyGenerator(OfNoise):
    def noise(self, z: Tensor) -> Any:
        return float(np.random.uniform(0.3, 0.9))


class GlobalPythonGenerator(OfNoise):
    def noise(self, z: Tensor) -> Any:
        return random.uniform(0.3, 0.9)


class Window(OfNoise):
    """The latest few means of the latent, as numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.window: deque[float] = deque([0.5], maxlen=5)

    def noise(self, z: Tensor) -> Any:
        self.window.append(0.1 + z.detach().abs().mean().item())
        return sum(self.window) / len(self.window)


class WindowOfCalls(OfNoise):
    """The same length and ends that move."""

    def __init__(self) -> None:
        super().__init__()
        self.window: deque[int] = deque(range(5), maxlen=5)

    def noise(self, z: Tensor) -> Any:
        self.window.append(self.window[-1] + 1)
        return noise_after(sum(self.window) / 5)


class Tally:
    """An object with slots."""

    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


class CounterInSlots(OfNoise):
    def __init__(self) -> None:
        super().__init__()
        self.tally = Tally()

    def noise(self, z: Tensor) -> Any:
        self.tally.calls += 1
        return noise_after(self.tally.calls)


class CachedByCall(OfNoise):
    """A cache that is read only while it is empty, beside a list that grows."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[float] = []

        @lru_cache(maxsize=2)
        def level(calls: int) -> float:
            return noise_after(calls)

        self._level = level

    def noise(self, z: Tensor) -> Any:
        self.history.append(self._level(len(self.history)))
        return self.history[-1]


class CountingHook(Usual):
    """A forward hook of the decoder that weakens its output call by call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.decoder.register_forward_hook(self._weaken)

    def _weaken(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        self.calls += 1
        result: Tensor = output * (0.5 + noise_after(self.calls))
        return result


class PriorOfAttribute(Usual):
    """A plain number that others change from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.prior_scale = 2.0

    def prior(self) -> dist.TorchDistribution:
        return dist.Normal(torch.zeros(2), self.prior_scale).to_event(1)


class PriorOfTensor(Usual):
    """A tensor that is neither parameter nor buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.centre = torch.tensor([1.0, -1.0])

    def prior(self) -> dist.TorchDistribution:
        return dist.Normal(self.centre, 1.0).to_event(1)


class WrittenOnly(Usual):
    """What is kept is never read."""

    last: Tensor | None = None

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        self.last = z.detach()
        return super().likelihood(z)


class FilledWhenFirstUsed(Usual):
    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[int, Tensor] = {}

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        if 4 not in self.cache:
            self.cache[4] = torch.linspace(0.3, 0.6, 4)
        return dist.Normal(self.decoder(z), self.cache[4]).to_event(1)


class CachedFunction(Usual):
    """The same by ``lru_cache``."""

    @staticmethod
    @lru_cache
    def scales(number: int) -> tuple[float, ...]:
        return tuple(0.3 + 0.1 * i for i in range(number))

    def likelihood(self, z: Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.decoder(z), torch.tensor(self.scales(4))).to_event(1)


def nothing(experiment: Experiment, step: int) -> None:
    """Change nothing."""


def anneal_prior(experiment: Experiment, step: int) -> None:
    experiment.modules[0].prior_scale = 2.0 - step / 32


def change_beta(experiment: Experiment, step: int) -> None:
    if step == 10:
        experiment.elbo.beta = 9.0


def freeze_encoder(experiment: Experiment, step: int) -> None:
    if step == 10:
        experiment.modules[0].encoder.requires_grad_(False)


def thaw_encoder(experiment: Experiment, step: int) -> None:
    experiment.modules[0].encoder.requires_grad_(step % 20 >= 10)


def stop_training_mode(experiment: Experiment, step: int) -> None:
    if step == 10:
        experiment.modules[0].eval()


def stop_training_mode_of_a_layer(experiment: Experiment, step: int) -> None:
    if step == 10:
        experiment.modules[0].encoder[2].eval()


def with_hook(
    act: Callable[[Usual], None],
) -> Callable[[Usual], Callable[[Parameters], optim.Optimizer]]:
    """An optimiser that does something to the programs' module after every step."""

    def of(module: Usual) -> Callable[[Parameters], optim.Optimizer]:
        def build(parameters: Parameters) -> optim.Optimizer:
            adam = OPTIMIZERS["Adam"](parameters)
            adam.register_step_post_hook(lambda *_: act(module))
            return adam

        return build

    return of


def move_centre(module: Usual) -> None:
    module.centre.mul_(1.02)


def shrink_prior(module: Usual) -> None:
    module.prior_scale *= 0.98


def usual_optimizer(module: Usual) -> Callable[[Parameters], optim.Optimizer]:
    return OPTIMIZERS["Adam"]


@dataclass(frozen=True)
class Stateful:
    """A program with state, and what changes it.

    Attributes:
        build: Makes the programs.
        path: What a refusal names.
        change: Called with the experiment and the step after every step.
        optimizer: Makes the optimiser's builder from the programs.
        is_changed_outside: Python outside the programs changes it, and cannot be taken back: a run
            may stop and say so.
    """

    build: Callable[[], Usual]
    path: str
    change: Callable[[Experiment, int], None] = nothing
    optimizer: Callable[[Usual], Callable[[Parameters], optim.Optimizer]] = field(
        default=usual_optimizer
    )

    @property
    def is_changed_outside(self) -> bool:
        return self.change is not nothing or self.optimizer is not usual_optimizer


STATEFUL = {
    "buffer assigned anew": Stateful(BufferAssignedAnew, "level"),
    "buffer changed in place": Stateful(BufferChangedInPlace, "level"),
    "average in a buffer": Stateful(AverageInBuffer, "average"),
    "average in an attribute": Stateful(AverageInAttribute, "average"),
    "counter in an attribute": Stateful(CounterInAttribute, "calls"),
    "counter of a class": Stateful(CounterOfClass, "calls"),
    "counter in a global": Stateful(CounterInGlobal, "number_of_calls"),
    "counter in a global dictionary": Stateful(CounterInGlobalDictionary, "CALLS|likelihood"),
    "list in a closure": Stateful(ListInClosure, "seen"),
    "number in a closure": Stateful(NumberInClosure, "calls"),
    "mutable default": Stateful(MutableDefault, "seen"),
    "itertools.count": Stateful(Counted, "count"),
    "itertools.cycle": Stateful(Cycled, "cycle"),
    "generator function": Stateful(Generated, "levels"),
    "numpy generator": Stateful(NumpyGenerator, "generator"),
    "Python generator": Stateful(PythonGenerator, "generator"),
    "global numpy generator": Stateful(GlobalNumpyGenerator, "numpy"),
    "global Python generator": Stateful(GlobalPythonGenerator, "random"),
    "window of means": Stateful(Window, "window|values of tensors"),
    "window of calls": Stateful(WindowOfCalls, "window"),
    "counter in slots": Stateful(CounterInSlots, "tally|calls"),
    "list beside a cache": Stateful(CachedByCall, "history"),
    "forward hook that counts": Stateful(CountingHook, "calls"),
    "attribute changed by the report": Stateful(PriorOfAttribute, "prior_scale", anneal_prior),
    "attribute changed by a hook": Stateful(
        PriorOfAttribute, "prior_scale", optimizer=with_hook(shrink_prior)
    ),
    "tensor moved by a hook": Stateful(PriorOfTensor, "centre", optimizer=with_hook(move_centre)),
    "beta set by the report": Stateful(Usual, "beta", change_beta),
    "encoder frozen by the report": Stateful(Usual, "requires_grad|encoder", freeze_encoder),
    "encoder frozen and thawed": Stateful(Usual, "requires_grad|encoder", thaw_encoder),
    "eval() in the report": Stateful(dropout, "training|eval", stop_training_mode),
    "eval() of one layer": Stateful(dropout, "training|eval", stop_training_mode_of_a_layer),
}
HARMLESS: dict[str, Callable[[], Usual]] = {
    "written only": WrittenOnly,
    "filled when first used": FilledWhenFirstUsed,
    "cached function": CachedFunction,
}
