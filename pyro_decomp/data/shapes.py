"""The plane shapes of the sprites: which points lie inside."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Shape = Callable[[Float[Tensor, "..."], Float[Tensor, "..."]], Bool[Tensor, "..."]]

SQUARE_SIDE = 0.3
ELLIPSE_AXES = (0.4, 0.225)
HEART_WIDTH = 0.315

# The heart below is 32 wide and reaches from -17, its tip, to 11.923.
_HEART_CENTRE = -2.538


def square(x: Float[Tensor, "..."], y: Float[Tensor, "..."]) -> Bool[Tensor, "..."]:
    """Inside the square of side 0.3.

    Args:
        x: To the right of the centre, in widths of the frame.
        y: Above it.
    """
    return torch.maximum(x.abs(), y.abs()) <= SQUARE_SIDE / 2


def ellipse(x: Float[Tensor, "..."], y: Float[Tensor, "..."]) -> Bool[Tensor, "..."]:
    """Inside the ellipse with axes of 0.4 across and 0.225 upwards.

    Args:
        x: To the right of the centre, in widths of the frame.
        y: Above it.
    """
    across, upwards = ELLIPSE_AXES
    return (2.0 / across * x).square() + (2.0 / upwards * y).square() <= 1.0


def heart(x: Float[Tensor, "..."], y: Float[Tensor, "..."]) -> Bool[Tensor, "..."]:
    r"""Inside the heart of width 0.315, tip down, that is centred on its bounding box.

    .. math::
        x = 16 \sin^3 t, \quad y = 13 \cos t - 5 \cos 2t - 2 \cos 3t - \cos 4t

    bounds it. Each :math:`|x| \le 16` is met twice, at :math:`\cos t = \pm c` with
    :math:`c = \sqrt{1 - |x/16|^{2/3}}`, and the points between the two satisfy

    .. math:: |y - (4 - 2 c^2 - 8 c^4)| \le c \, (19 - 8 c^2).

    Args:
        x: To the right of the centre, in widths of the frame.
        y: Above it.

    Reference:
        Weisstein, Heart curve, MathWorld, the sixth of its curves,
        https://mathworld.wolfram.com/HeartCurve.html.
    """
    unit = 32.0 / HEART_WIDTH
    squared = 1.0 - (unit / 16.0 * x).abs().pow(2.0 / 3.0)
    c = squared.clamp_min(0.0).sqrt()
    middle = 4.0 - 2.0 * squared - 8.0 * squared.square()
    inside = (unit * y + _HEART_CENTRE - middle).abs() <= c * (19.0 - 8.0 * squared)
    return inside & (squared >= 0.0)


SHAPES: dict[str, Shape] = {"square": square, "ellipse": ellipse, "heart": heart}
