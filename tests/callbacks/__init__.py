"""Functions as callbacks."""

from collections.abc import Callable
from typing import Any

from pyro_decomp.training.callbacks import Callback


class Step(Callback):
    """Calls a function with the training after every step."""

    def __init__(self, call: Callable[[Any], object]) -> None:
        self._call = call

    def step(self, training: Any) -> None:
        self._call(training)


class Started(Callback):
    """Calls a function with the training before its first step."""

    def __init__(self, call: Callable[[Any], object]) -> None:
        self._call = call

    def started(self, training: Any) -> None:
        self._call(training)
