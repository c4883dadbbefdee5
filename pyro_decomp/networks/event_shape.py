"""The shape of one input of a network, apart from whatever dimensions lead it."""

import torch
from torch import Tensor


def leading_shape(x: Tensor, event_shape: tuple[int, ...]) -> torch.Size:
    """The leading dimensions of an input whose last ones must be ``event_shape``.

    Raises:
        ValueError: They are others.
    """
    split = x.dim() - len(event_shape)
    if split < 0 or x.shape[split:] != event_shape:
        expected = ", ".join(["...", *map(str, event_shape)])
        raise ValueError(f"expected an input of shape ({expected}), got {tuple(x.shape)}")
    return x.shape[:split]
