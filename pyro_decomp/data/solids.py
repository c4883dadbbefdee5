"""A cube, a cylinder, a sphere and a capsule, as distances of their surface from their centre."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.data.star_surface import Radius

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
