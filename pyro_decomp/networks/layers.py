"""What all networks here share: checked inputs, hidden layers, a Normal output. Internal."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pyro.distributions as dist
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_decomp.arguments import refuse


def leading_shape(x: Tensor, event_shape: tuple[int, ...]) -> torch.Size:
    """Check the shape of one input of a network, apart from the dimensions that lead it.

    Returns:
        The leading dimensions.

    Raises:
        ArgumentError: They are others.
    """
    is_real = isinstance(x, Tensor) and x.is_floating_point()
    split = x.dim() - len(event_shape) if is_real else -1
    if split < 0 or x.shape[split:] != event_shape:
        got = tuple(x.shape) if is_real else getattr(x, "dtype", x)
        shape = f"(..., {', '.join(map(str, event_shape))})"
        refuse("input", f"a floating-point tensor of shape {shape}", got)
    return x.shape[:split]


MIN_SCALE = 1e-6


def normal(
    loc: Float[Tensor, "*batch d"], raw_scale: Float[Tensor, "*batch d"]
) -> dist.TorchDistribution:
    r"""The Normal that the last layer of every encoder here stands for.

    .. math:: \mathrm{scale} = \log(1 + e^r) + 10^{-6}

    The papers' code has this in places and an exponential in others; here every encoder has it.

    Args:
        loc: Location.
        raw_scale: r, any real numbers.

    Returns:
        ``Normal(loc, scale).to_event(1)``.
    """
    return dist.Normal(loc, softplus(raw_scale) + MIN_SCALE).to_event(1)


def hidden_layers(widths: Sequence[int], activation: Callable[[], nn.Module]) -> nn.Sequential:
    """Linear maps from each width to the next, an activation behind each.

    Args:
        widths: The length of an input, then that of each hidden layer.
        activation: Makes a new one, such as ``nn.ReLU``.

    Returns:
        The layers; with a single width there are none, and inputs come out as they are.
    """
    layers = [[nn.Linear(width, after), activation()] for width, after in pairwise(widths)]
    return nn.Sequential(*[module for layer in layers for module in layer])
