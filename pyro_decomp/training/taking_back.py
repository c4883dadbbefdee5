"""What a step moves before the optimiser does, to be taken back where the step fails."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from pyro_decomp.acceleration import Contents, Place, StepSource, places_of
from pyro_decomp.seeds import random_state, set_random_state
from pyro_decomp.training.run_files.history import History

OTHER_GENERATORS = {"random": "python", "numpy.random": "numpy"}


class BegunStep:
    """Takes back a step that fails before its update: noise that was drawn, what programs moved.

    torch's generator and what the programs move in every run, buffers and Python state, are kept
    before every step, which takes microseconds. Where something else is not as it was in the last
    checkpoint, the step cannot be taken back.

    Args:
        source: What steps are computed from.
        device: Where.
    """

    def __init__(self, source: StepSource, device: torch.device) -> None:
        self._device = device if device.type == "cuda" else None
        self._python, self._parameters = source.python, list(source.parameters.values())
        self._places = [place for place in places_of(source) if place.is_buffer]
        self._moving = self._places
        self._first: Contents | None = None
        self._put_back: Callable[[], bool] | None = None
        self._moves_others = not OTHER_GENERATORS.keys().isdisjoint(self._python.moving)

    def keep(self) -> None:
        """Keep what there is between two steps."""
        if self._first is None:
            self._first = Contents(self._places)
        elif self._moving is self._places:
            self._moving = [place for place, *before in self._first.kept if _moved(place, *before)]
        buffers = Contents(self._moving) if self._moving else None
        python = self._python.keep_moving() if self._python.moving else None
        versions = [parameter._version for parameter in self._parameters]
        noise = torch.default_generator.get_state()
        others = random_state() if self._moves_others else {}
        on_device = None if self._device is None else torch.cuda.get_rng_state(self._device)

        def put_back() -> bool:
            if versions != [parameter._version for parameter in self._parameters]:
                return False
            if python is not None and not python():
                return False
            if buffers is not None:
                buffers.put_back()
            if others:
                set_random_state(others)
            torch.default_generator.set_state(noise)
            if self._device is not None and on_device is not None:
                torch.cuda.set_rng_state(on_device, self._device)
            return True

        self._put_back = put_back

    def forget(self) -> None:
        """Take nothing back: the update has begun."""
        self._put_back = None

    def take_back(
        self,
        kept: Callable[[], Mapping[str, Any]],
        random: Mapping[str, Any],
        python: Mapping[str, Any] | None,
    ) -> bool:
        """Put back what :meth:`keep` kept; False if that cannot be done, or is not all.

        Args:
            kept: Gives what the programs keep in Python, as a checkpoint has it.
            random: The generators in the last checkpoint.
            python: What the programs kept in Python in it.
        """
        if self._first is None or self._put_back is None or not self._put_back():
            return False
        moving = {place.key for place in self._moving}
        fixed = [each for each in self._first.kept if each[0].key not in moving]
        if any(_moved(place, *before) for place, *before in fixed):
            return False
        now = random_state()
        others = [] if self._moves_others else OTHER_GENERATORS.values()
        return is_same([now[n] for n in others], [random[n] for n in others]) and is_same(
            self._at_rest(kept()), self._at_rest(python or {})
        )

    def _at_rest(self, kept: Mapping[str, Any]) -> dict[str, Any]:
        """What the programs keep in Python but for what moves in every run."""
        inside = tuple(f"{path}." for path in self._python.moving)
        values = kept.get("values", {}).items()
        return {
            path: value
            for path, value in values
            if path not in self._python.moving and not path.startswith(inside)
        }


def begins_with(history: History, first: History) -> bool:
    """Whether a history begins with the rows of another, which may lack columns of later rows."""
    return all(
        np.array_equal(history[name][: len(column)], column, equal_nan=True)
        for name, column in first.items()
    )


def is_same(one: Any, other: Any) -> bool:
    """Whether nested plain values and tensors are equal."""
    (parts, form), (others, other_form) = tree_flatten(one), tree_flatten(other)
    return form == other_form and all(map(_is_equal, parts, others))


def _is_equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


def _moved(place: Place, tensor: Tensor, content: Tensor) -> bool:
    return place.tensor is not tensor or not torch.equal(tensor, content)
