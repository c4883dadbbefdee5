"""Coloured solids in a room: the factors of 3D Shapes, drawn by the renderer of the heads."""

import colorsys
import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pyro_decomp import arguments
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.data.rendered.star_surface import (
    POINTS_PER_PIXEL,
    Radius,
    StarSurface,
    rotated,
    star_surface,
    turned,
)
from pyro_decomp.errors import DataError

_CUBE = 0.32
_CYLINDER = 0.32, 0.36  # radius, half the height
_SPHERE = 0.36
_CAPSULE = 0.26, 0.46


def cube(directions: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """Distance of a cube's surface in these unit directions."""
    return _CUBE / directions.abs().amax(1)


def cylinder(directions: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """Distance of an upright cylinder's surface in these unit directions."""
    radius, half_height = _CYLINDER
    side, lid = radius / _across(directions), half_height / directions[:, 1].abs()
    return torch.minimum(side, lid)


def sphere(directions: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """Distance of a sphere's surface in these unit directions."""
    return _SPHERE * directions.square().sum(1)


def capsule(directions: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """Distance of the surface of a cylinder with half a sphere on either end."""
    radius, half_height = _CAPSULE
    centre = half_height - radius
    up, across = directions[:, 1].abs(), _across(directions)
    side = radius / across
    under_root = radius**2 - (centre * across) ** 2
    end = centre * up + under_root.clamp(min=1e-12).sqrt()
    return torch.where(side * up < centre, side, end)


def _across(directions: Tensor) -> Tensor:
    """Distance from the vertical axis."""
    return directions[:, ::2].norm(dim=1)


class Solid(NamedTuple):
    """A solid around the origin.

    Attributes:
        name: Of its shape.
        radius: Distance of its surface.
        half_height: From the origin to its top and bottom.
    """

    name: str
    radius: Radius
    half_height: float


SOLIDS = (
    Solid("cube", cube, _CUBE),
    Solid("cylinder", cylinder, _CYLINDER[1]),
    Solid("sphere", sphere, _SPHERE),
    Solid("capsule", capsule, _CAPSULE[1]),
)


FACTORS = {
    "floor_hue": 10,
    "wall_hue": 10,
    "object_hue": 10,
    "scale": 8,
    "shape": 4,
    "orientation": 15,
}
SCALES = tuple(0.75 + k / 14.0 for k in range(FACTORS["scale"]))
ORIENTATIONS = tuple(-30.0 + 30.0 * k / 7.0 for k in range(FACTORS["orientation"]))

_ELEVATION = 25.0
_HALF_WIDTH = 1.0
_SAMPLES = 2
_FLOOR = -0.45  # where an object of any size stands
_WALLS = -0.8
_AMBIENT = 0.4
_LIGHT = (0.36, 0.8, 0.48)


def scenes(size: int = 64) -> GroundTruth:
    """480,000 colour images of a solid in the corner of a room, with the factors of 3D Shapes.

    ``floor_hue``, ``wall_hue`` and ``object_hue`` go round the circle of hues in steps of a tenth;
    ``scale`` from 0.75 to 1.25; ``shape`` is a cube, cylinder, sphere or capsule, standing on the
    floor; ``orientation`` turns the room with all in it from -30 to 30 degrees. These are the
    factors, values and order of 3D Shapes, but not its pictures: the view has no perspective, the
    room has two walls, and there are no shadows.

    Args:
        size: Height and width of the images.

    Returns:
        The grid. It keeps what was drawn once: 480 scenes without their colours and four solids,
        36 MB in all at size 64.

    Raises:
        DataError: ``size`` is not positive.

    Reference:
        The original: Burgess & Kim, 3D Shapes dataset, 2018,
        https://github.com/google-deepmind/3d-shapes.

    >>> scenes(32).images([[0, 3, 6, 7, 0, 14]]).shape
    torch.Size([1, 3, 32, 32])
    """
    with arguments.raised_as(DataError):
        arguments.annotated(scenes, locals(), size=1)
    return GroundTruth("scenes", FACTORS, (3, size, size), _Room(size))


class _Room:
    """Draws scenes: how bright floor, walls and object are in each pixel, times their colours."""

    def __init__(self, size: int) -> None:
        self._width = _SAMPLES * size
        self._shades: dict[tuple[int, int, int], Tensor] = {}
        self._unscaled: dict[int, StarSurface] = {}
        colours = [colorsys.hsv_to_rgb(tenth / 10.0, 1.0, 1.0) for tenth in range(10)]
        self._colours = torch.tensor(colours)

    def __call__(self, factors: Int[Tensor, "n 6"]) -> Float[Tensor, "n 3 size size"]:
        size = self._width // _SAMPLES
        images = torch.zeros(len(factors), 3, size, size)
        if len(factors):
            shades = torch.stack([self._shaded(*row) for row in factors[:, 3:].tolist()])
            colours = self._colours[factors[:, :3]]
            for part in range(3):
                images += colours[:, part, :, None, None] * shades[:, part, None]
        return images

    def _shaded(self, scale: int, shape: int, orientation: int) -> Float[Tensor, "3 size size"]:
        key = scale, shape, orientation
        if key not in self._shades:
            rotation = turned(ORIENTATIONS[orientation], _ELEVATION)
            part, normals = self._background(rotation)
            solid = self._solid(shape, scale)
            nearest = solid.nearest(rotation, self._width, _HALF_WIDTH)
            seen = nearest >= 0
            part = torch.where(seen, 2, part)
            normals = torch.where(seen, rotated(solid.normals[:, nearest], rotation), normals)
            light = torch.tensor(_LIGHT)[:, None]
            shade = _AMBIENT + (1.0 - _AMBIENT) * (normals * light).sum(0).clamp(min=0.0)
            parts = torch.stack([shade * (part == k) for k in range(3)])
            self._shades[key] = avg_pool2d(parts.view(3, self._width, self._width), _SAMPLES)
        return self._shades[key]

    def _background(self, rotation: Tensor) -> tuple[Tensor, Tensor]:
        """For each pixel 0 for the floor or 1 for a wall, and the normal there, x, y and z."""
        corner = math.sqrt(0.5)
        planes = torch.tensor([[0.0, 1.0, 0.0], [corner, 0.0, corner], [-corner, 0.0, corner]])
        normals = rotated(planes.T, rotation)
        offsets = torch.tensor([_FLOOR, _WALLS, _WALLS])
        across = ((torch.arange(self._width) + 0.5) / self._width * 2.0 - 1.0) * _HALF_WIDTH
        y, x = torch.meshgrid(-across, across, indexing="ij")
        depth = offsets - normals[0] * x.reshape(-1, 1) - normals[1] * y.reshape(-1, 1)
        plane = (depth / normals[2]).argmax(1)  # a ray leaves the room through the first it meets
        return plane.clamp(max=1), normals[:, plane]

    def _solid(self, shape: int, scale: int) -> StarSurface:
        if shape not in self._unscaled:
            points = POINTS_PER_PIXEL * self._width**2
            self._unscaled[shape] = star_surface(SOLIDS[shape].radius, points)
        solid = self._unscaled[shape]
        height = _FLOOR + SCALES[scale] * SOLIDS[shape].half_height
        return StarSurface(
            solid.points * SCALES[scale] + torch.tensor([[0.0], [height], [0.0]]), solid.normals
        )
