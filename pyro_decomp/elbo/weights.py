"""What may be the weight of a term."""

import math

from torch import Tensor


def checked_weight(name: str, weight: float | Tensor) -> float | Tensor:
    """The weight itself, if it is a finite number of at least 0, or such a 0-dim tensor.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, infinite or not a number.
    """
    if isinstance(weight, bool) or not isinstance(weight, int | float | Tensor):
        raise TypeError(f"{name}: expected a number or a 0-dim tensor, got {weight!r}")
    if isinstance(weight, Tensor) and weight.dim():
        raise TypeError(f"{name}: expected a 0-dim tensor, got shape {tuple(weight.shape)}")
    if not 0 <= float(weight) < math.inf:
        raise ValueError(f"{name}: expected a finite number of at least 0, got {weight!r}")
    return weight
