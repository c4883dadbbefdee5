"""Labels: discrete sites that are observed, for all of the data or some, and drawn in the prior."""

from collections.abc import Callable
from functools import partial
from typing import Any

from pyro.poutine.messenger import Messenger
from torch import Tensor

OBSERVED, UNOBSERVED = "_observed", "_unobserved"  # what Pyro calls the two parts of an obs_mask


def companion(label: str) -> str | None:
    """The site of the same values for the data without a label, as ``obs_mask=`` makes one."""
    return label.removesuffix(OBSERVED) + UNOBSERVED if label.endswith(OBSERVED) else None


def unlabelled(program: Callable[..., Any], labels: tuple[str, ...]) -> Callable[..., Any]:
    """The program with labels drawn instead of observed.

    A label of some of the data is drawn once for each datum, whether it is known or not.

    Args:
        program: The model.
        labels: Its observed discrete sites that are to be drawn.
    """
    return partial(_run, program, labels) if labels else program


def _run(program: Callable[..., Any], labels: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
    with _Unlabelled(labels):
        return program(*args, **kwargs)


class _Unlabelled(Messenger):
    """Draws labels, and gives their values to what Pyro makes of an ``obs_mask=`` beside them."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        super().__init__()
        self._labels = labels
        self._drawn: dict[str | None, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._labels:
            msg["value"], msg["is_observed"] = None, False
        elif msg["name"] in self._drawn:
            msg["value"], msg["done"] = self._drawn[msg["name"]], True

    def _pyro_post_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name in self._labels and companion(name):
            self._drawn[companion(name)] = self._drawn[name.removesuffix(OBSERVED)] = msg["value"]
