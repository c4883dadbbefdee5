"""Sprites: dSprites' factors, drawn from geometry."""

import math
from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pyro_decomp import arguments
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.errors import DataError

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


FACTORS = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
SIZES = (16, 32, 64, 128)

# All sizes come from one fine drawing of every sprite, whose dots divide the pixels of each. Cells
# are the squares of dots that positions and pixels are both made of.
_DOTS = 512  # across the frame
_REACH = 112  # dots from the centre of a sprite to the edge of its drawing
_FIRST = _DOTS // 4  # where position 0 has its centre
_STEP = _DOTS // 64  # from one position to the next


def sprites(size: int = 64) -> GroundTruth:
    r"""White squares, ellipses and hearts on black: 737,280 binary images in dSprites' order.

    The factors, last fastest: 3 shapes (square, ellipse, heart), 6 scales (0.5, 0.6, ..., 1), 40
    orientations (:math:`2 \pi k / 39`, anticlockwise), 32 positions x (to the right) and 32
    positions y (downwards). dSprites has a colour before them, of one value, which changes no
    index. Orientations 0 and 39 are the same image, as they are there, and 90 and 180 degrees
    carry square and ellipse into themselves: no code can tell such orientations apart.

    A pixel is white if at least half of it is covered, measured at 64 dots a pixel for 64 x 64 and
    more for smaller images. Image :math:`(k, l)` of a sprite is its image (0, 0), moved by
    :math:`(k, l)` pixels of 64 x 64, which are half and quarter pixels of 32 x 32 and 16 x 16; it
    is drawn from that centre and not resized. At 16 x 16 one step of a factor often changes no
    pixel.

    What is known of the original, from the 320 of its images that its authors show
    (``dsprites.gif``): the centre moves from 16 to 48 pixels, in steps of 32/31 (here 16 to 47, in
    steps of one); the square is 10, 12, ..., 20 pixels wide and covers 364 to 372 when turned at
    full scale; the ellipse covers 286 to 292 with axes as 16 to 9; the heart turns about the centre
    of its bounding box. Not known are the formula of its heart and its rule for a pixel's colour.
    Of the pixels white there or here, 99.6 % are white in both for squares, 99.4 % for ellipses and
    94.0 % for hearts, on average over those images that are at position 0.

    Args:
        size: Height and width in pixels, one of 16, 32, 64 and 128.

    Returns:
        The grid; drawings of the sprites are made once for each size and kept.

    Raises:
        DataError: The size is another.

    Reference:
        Matthey et al., dSprites: disentanglement testing sprites dataset, 2017,
        https://github.com/google-deepmind/dsprites-dataset.

    >>> data = sprites(size=32)
    >>> images = data.images(data.sample_factors(100, seed=0))
    >>> images.shape, images.unique()
    (torch.Size([100, 1, 32, 32]), tensor([0., 1.]))
    """
    with arguments.raised_as(DataError):
        arguments.whole(size=size)
        if (size := int(size)) not in SIZES:
            arguments.refuse("size", f"one of {', '.join(map(str, SIZES))}", size)

    def render(factors: Int[Tensor, "n 5"]) -> Float[Tensor, "n 1 size size"]:
        windows, corners = _drawings(size)
        kind, scale, orientation, x, y = factors.numpy().T
        sprite = (kind * FACTORS["scale"] + scale) * FACTORS["orientation"] + orientation
        phases = windows.shape[0]
        images = np.zeros((len(factors), 1, size, size), np.float32)
        places = sliding_window_view(images, windows.shape[-2:], axis=(2, 3), writeable=True)
        # Each image has one place written: windows[phase of y, phase of x, sprite].
        places[np.arange(len(factors)), 0, corners[y], corners[x]] = windows[
            y % phases, x % phases, sprite
        ]
        return torch.from_numpy(images)

    return GroundTruth("sprites", FACTORS, (1, size, size), render)


def sprite(
    shape: Shape, scale: float, orientation: float, *, size: int = 64
) -> Float[Tensor, "size size"]:
    """One sprite in the middle of the frame.

    Args:
        shape: One of :data:`SHAPES`, or a function like it that lies within
            7/32 of the width of the frame from its centre.
        scale: By which the shape is enlarged.
        orientation: By which it is turned, in radians, anticlockwise.
        size: Height and width in pixels, a divisor of 512.
    """
    pixel = _DOTS // size
    cell = min(pixel, _STEP)
    frame = torch.zeros(1, _DOTS // cell, _DOTS // cell)
    middle = slice((_DOTS // 2 - _REACH) // cell, (_DOTS // 2 + _REACH) // cell)
    angle = torch.tensor([orientation], dtype=torch.float64)
    frame[:, middle, middle] = _coverage(shape, scale, angle, cell)
    return _binary(frame, pixel // cell)[0]


@cache
def _drawings(size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Sprites for each phase of y and x within a pixel, and where to put them for each position."""
    pixel = _DOTS // size
    cell = min(pixel, _STEP)
    phases, extent = pixel // cell, 2 * _REACH // cell
    edges = (_FIRST - _REACH + _STEP * np.arange(FACTORS["x"])) // cell
    width = phases * math.ceil((extent + phases - 1) / phases)
    scales = torch.linspace(0.5, 1.0, FACTORS["scale"], dtype=torch.float64)
    last = FACTORS["orientation"] - 1
    angles = 2.0 * torch.pi / last * (torch.arange(last + 1, dtype=torch.float64) % last)
    drawn = [
        _coverage(shape, scale, angles, cell)
        for shape, scale in product(SHAPES.values(), scales.tolist())
    ]
    cells = torch.cat(drawn)
    windows = []
    for down, right in product(edges[:phases] % phases, repeat=2):
        window = torch.zeros(len(cells), width, width)
        window[:, down : down + extent, right : right + extent] = cells
        windows.append(_binary(window, phases))
    return torch.stack(windows).unflatten(0, (phases, phases)).numpy(), edges // phases


def _coverage(
    shape: Shape, scale: float, angles: Float[Tensor, " n"], cell: int
) -> Float[Tensor, "n cells cells"]:
    """How much of each square cell around its centre a turned shape covers, from 0 to 1."""
    at = (torch.arange(-_REACH, _REACH) + 0.5) / (_DOTS * scale)
    right, up = at, -at[:, None]
    cos, sin = (f(angles)[:, None, None].float() for f in (torch.cos, torch.sin))
    return avg_pool2d(shape(cos * right + sin * up, cos * up - sin * right).float(), cell)


def _binary(cells: Float[Tensor, "n height width"], pixel: int) -> Float[Tensor, "n rows columns"]:
    return (avg_pool2d(cells, pixel) >= 0.5).float()
