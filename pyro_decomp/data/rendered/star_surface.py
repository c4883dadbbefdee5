"""Surfaces that every ray from the origin meets once: points, normals, and what a viewer sees."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

Radius = Callable[[Float[Tensor, "points 3"]], Float[Tensor, " points"]]
"""From unit directions to the distance of the surface from the origin, differentiable."""

POINTS_PER_PIXEL = 8
"""Points in all, over pixels of the picture in all, that leave no hole in a head."""

_INDEX_BITS = 32
_DEPTH_STEPS = 2**20


@dataclass(frozen=True)
class StarSurface:
    """Points on a surface, and what is needed to shade them.

    Attributes:
        points: Places, float32: all x, then all y and all z, which is quickest to rotate.
        normals: Outward unit normals there, float32.
    """

    points: Float[Tensor, "3 points"]
    normals: Float[Tensor, "3 points"]

    def nearest(
        self, rotation: Float[Tensor, "3 3"], size: int, half_width: float
    ) -> Int[Tensor, " pixels"]:
        r"""Which point each pixel shows, seen along -z without perspective after a rotation.

        Every point is entered into the pixel that it falls in, and the nearest to the viewer stays.
        The points must lie closer together than the pixels: :data:`POINTS_PER_PIXEL`.

        Args:
            rotation: To the viewer's axes: x to the right, y up, z towards the viewer.
            size: Height and width in pixels; row 0 is the top.
            half_width: Of the square shown around the origin; no point may lie outside.

        Returns:
            Indices of points, row by row, and -1 where there is none.
        """
        x, y, z = rotated(self.points, rotation)
        per_unit = size / (2.0 * half_width)
        column = ((x + half_width) * per_unit).long()
        row = ((half_width - y) * per_unit).long()
        depth = ((z + half_width) * (_DEPTH_STEPS / half_width)).long()
        key = (depth << _INDEX_BITS) + torch.arange(len(z))
        nearest = torch.full((size * size,), -1).scatter_reduce_(
            0, row * size + column, key, "amax"
        )
        return torch.where(nearest < 0, -1, nearest & (2**_INDEX_BITS - 1))


def star_surface(radius: Radius, num_points: int) -> StarSurface:
    r"""The surface at distance r(u) in direction u, at nearly evenly spread directions.

    With :math:`F(p) = |p| - r(p / |p|)`, the normal is :math:`\nabla F` over its length, by
    automatic differentiation in float64.

    Args:
        radius: r.
        num_points: Number of points.
    """
    points = fibonacci_sphere(num_points).requires_grad_()
    with torch.enable_grad():
        length = points.norm(dim=1)
        distance = radius(points / length[:, None])
        (gradient,) = torch.autograd.grad((length * distance.detach() - distance).sum(), points)
    points = points.detach() * distance.detach()[:, None]
    normals = gradient / gradient.norm(dim=1, keepdim=True)
    return StarSurface(points.T.float().contiguous(), normals.T.float().contiguous())


def fibonacci_sphere(num_points: int) -> Float[Tensor, "points 3"]:
    """Unit directions in float64 on a spiral from pole to pole, each with an equal area around it.

    Args:
        num_points: Number of directions.

    Reference:
        Gonzalez, Measurement of areas on a sphere using Fibonacci and latitude-longitude lattices,
        2010, section 2.3, https://arxiv.org/abs/0912.4540.
    """
    step = torch.arange(num_points, dtype=torch.float64)
    y = 1.0 - (2.0 * step + 1.0) / num_points
    longitude = step * (math.pi * (3.0 - math.sqrt(5.0)))
    ring = (1.0 - y * y).sqrt()
    return torch.stack([ring * longitude.sin(), y, ring * longitude.cos()], dim=1)


def turned(azimuth: float, elevation: float) -> Float[Tensor, "3 3"]:
    """The rotation that shows what faces +z turned to the viewer's right, then from above.

    Args:
        azimuth: How far it is turned to the right, in degrees.
        elevation: How far above it the viewer stands, in degrees.
    """
    a, e = math.radians(azimuth), math.radians(elevation)
    return torch.tensor(
        [
            [math.cos(a), 0.0, math.sin(a)],
            [math.sin(a) * math.sin(e), math.cos(e), -math.cos(a) * math.sin(e)],
            [-math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)],
        ]
    )


def rotated(vectors: Float[Tensor, "3 n"], rotation: Float[Tensor, "3 3"]) -> Float[Tensor, "3 n"]:
    """The vectors after a rotation; of each the same bits however many there are.

    Args:
        vectors: One a column.
        rotation: A matrix that multiplies columns.
    """
    x, y, z = vectors
    return torch.stack([row[0] * x + row[1] * y + row[2] * z for row in rotation])
