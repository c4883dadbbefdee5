"""Pictures as calls of functions of ``plots``, to be made wherever there is time. Internal.

Neither this module nor what it pickles needs torch, and matplotlib only once a picture is drawn.
"""

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ruff: noqa: PLC0415


@dataclass(frozen=True)
class Drawing:
    """One call of a function of ``pyro_decomp.plots``.

    Attributes:
        name: The function.
        args: What it is called with: arrays, words and numbers.
        named: The same, by name.
    """

    name: str
    args: tuple[Any, ...]
    named: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> "Figure | np.ndarray":
        """The figure, or the frames of an animation."""
        from pyro_decomp import plots

        drawn: Figure | np.ndarray = getattr(plots, self.name)(*self.args, **self.named)
        return drawn


def save_drawn(drawing: Drawing, path: str | os.PathLike[str]) -> list[Warning]:
    """Draw a figure or frames and write it, in whatever process this is called.

    Args:
        drawing: What to draw.
        path: A file name ending in ``.png`` for a figure and ``.gif`` for frames.

    Returns:
        What was warned of meanwhile.

    Raises:
        ArgumentError: As in ``plots.save`` and ``plots.save_animation``.
        OSError: If the file cannot be written; what was there before stays.
    """
    from pyro_decomp import plots

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drawn = drawing()
        if isinstance(drawn, np.ndarray):
            plots.save_animation(drawn, path)
        else:
            plots.save(drawn, path)
    return [each.message for each in caught if isinstance(each.message, Warning)]
