"""Shaded heads of 50 people: a generated stand-in for the 3-D faces, which may not be shared."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from pyro_decomp import arguments
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.data.rendered.star_surface import (
    POINTS_PER_PIXEL,
    StarSurface,
    rotated,
    star_surface,
    turned,
)
from pyro_decomp.errors import DataError

PROPORTIONS = {
    # name: mean, and the most that an identity departs from it; in decimetres unless said
    "skull width": (0.76, 0.09),
    "skull height": (0.90, 0.10),
    "skull depth": (0.95, 0.09),
    "jaw width": (0.58, 0.10),
    "jaw length": (0.80, 0.09),
    "neck width": (0.47, 0.08),
    "forehead": (0.02, 0.07),
    "brow": (0.05, 0.04),
    "eye distance": (0.36, 0.05),  # radians from the middle
    "eye depth": (0.13, 0.05),
    "nose length": (0.20, 0.06),  # radians below the ears
    "nose height": (0.20, 0.08),
    "nose width": (0.11, 0.035),  # radians
    "nose bridge": (0.12, 0.05),
    "cheekbones": (0.05, 0.05),
    "cheeks": (0.00, 0.07),
    "mouth width": (0.19, 0.05),  # radians
    "lips": (0.05, 0.03),
    "chin": (0.08, 0.08),
    "chin width": (0.17, 0.06),  # radians
    "ears": (0.16, 0.06),
    "ear height": (0.20, 0.05),  # radians
}
_BLEND = 0.09  # over which two solids melt into one
_EDGE = 0.04  # of the cut through the neck, likewise
_NECK_END = 1.27


@dataclass(frozen=True)
class Head:
    """One person's head: x to its left, y up, z where it looks; decimetres.

    Attributes:
        proportions: Values of :data:`PROPORTIONS`.
    """

    proportions: dict[str, float]

    def __call__(self, directions: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """Distance of the surface in these unit directions: solids melted together, and features.

        Args:
            directions: Unit vectors, float64.
        """
        it = self.proportions
        width, height, depth = it["skull width"], it["skull height"], it["skull depth"]
        length = it["jaw length"]
        solids = torch.stack(
            [
                _ellipsoid(directions, (0.34, -0.12), (width, height, depth)),
                _ellipsoid(directions, (-0.35, 0.27), (it["jaw width"], length, 0.64)),
                _ellipsoid(directions, (-0.72, -0.26), (it["neck width"], 1.0, 0.55)),
            ]
        )
        head = _BLEND * torch.logsumexp(solids / _BLEND, dim=0) + self._features(directions)
        below = _NECK_END / (-directions[:, 1]).clamp(min=0.1)
        return -_EDGE * torch.logsumexp(-torch.stack([head, below]) / _EDGE, dim=0)

    def albedo(self, directions: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """How much of the light the skin returns: less at the brows, eyes and lips.

        Args:
            directions: Unit vectors, float64.
        """
        eye, mouth = self.proportions["eye distance"], self.proportions["mouth width"]
        on = _Features(directions)
        dark = (
            on.pair(0.40, eye, 0.215, 0.095, 0.022)
            + on.pair(0.40, eye, 0.205, 0.040, 0.045)
            + on.pair(0.35, eye, 0.40, 0.13, 0.026)
            + on.bump(0.35, 0.0, self._mouth, mouth, 0.05)
        )
        return 1.0 - dark

    @property
    def _mouth(self) -> float:
        """Latitude of the line between the lips."""
        return -self.proportions["nose length"] - 0.32

    def _features(self, directions: Tensor) -> Tensor:
        it = self.proportions
        on = _Features(directions)
        eye, nose, nostrils = it["eye distance"], it["nose length"], it["nose width"]
        mouth, lips = it["mouth width"], it["lips"]
        return (
            on.bump(it["forehead"], 0.0, 0.62, 0.45, 0.16)
            + on.pair(it["brow"], 0.28, 0.39, 0.17, 0.055)
            - on.pair(it["eye depth"], eye, 0.20, 0.15, 0.10)
            + on.pair(0.075, eye, 0.20, 0.085, 0.060)
            - on.pair(0.022, eye, 0.205, 0.085, 0.013)
            + on.bump(it["nose bridge"], 0.0, 0.10, 0.075, 0.15)
            + on.bump(it["nose height"], 0.0, -nose + 0.02, 0.75 * nostrils, (0.06, 0.15))
            + on.pair(0.09, nostrils, -nose - 0.02, 0.045, (0.04, 0.07))
            + on.pair(it["cheekbones"], 0.60, -0.06, 0.20, 0.13)
            + on.pair(it["cheeks"], 0.60, -0.45, 0.22, 0.18)
            + on.bump(0.04, 0.0, self._mouth, 1.5 * mouth, 0.15)
            + on.bump(lips, 0.0, self._mouth + 0.055, 0.8 * mouth, 0.032)
            + on.bump(1.2 * lips, 0.0, self._mouth - 0.06, 0.7 * mouth, 0.04)
            - on.bump(0.045, 0.0, self._mouth, 0.9 * mouth, 0.018)
            - on.bump(0.05, 0.0, self._mouth - 0.17, 0.16, 0.05)
            + on.bump(it["chin"], 0.0, self._mouth - 0.32, it["chin width"], 0.10)
            + on.pair(it["ears"], 1.72, 0.03, 0.10, it["ear height"])
            - on.pair(0.6 * it["ears"], 1.60, 0.05, 0.06, 0.5 * it["ear height"])
        )


class _Features:
    """Bumps in longitude, 0 at the nose and growing to the head's left, and latitude; radians."""

    def __init__(self, directions: Tensor) -> None:
        x, y, z = directions.unbind(1)
        self._longitude = torch.atan2(x, z)
        self._latitude = y.clamp(-1.0, 1.0).asin()

    def bump(
        self,
        height: float,
        longitude: float,
        latitude: float,
        width: float,
        extent: float | tuple[float, float],
    ) -> Tensor:
        """A Gaussian hill; its extent in latitude may differ below and above its top."""
        under, over = (extent, extent) if isinstance(extent, float) else extent
        up = self._latitude - latitude
        along = (self._longitude - longitude) / width
        return height * (-0.5 * (along**2 + torch.where(up < 0, up / under, up / over) ** 2)).exp()

    def pair(
        self,
        height: float,
        longitude: float,
        latitude: float,
        width: float,
        extent: float | tuple[float, float],
    ) -> Tensor:
        """The hill on both sides of the face."""
        left = self.bump(height, longitude, latitude, width, extent)
        return left + self.bump(height, -longitude, latitude, width, extent)


def _ellipsoid(
    directions: Tensor, centre: tuple[float, float], semi_axes: tuple[float, float, float]
) -> Tensor:
    """Where rays from the origin leave an ellipsoid around (0, y, z) that contains the origin."""
    scale = torch.tensor(semi_axes, dtype=directions.dtype)
    ray = directions / scale
    start = -torch.tensor([0.0, *centre], dtype=directions.dtype) / scale
    a, b, c = (ray * ray).sum(1), ray @ start, start @ start - 1.0
    return ((b * b - a * c).sqrt() - b) / a


FACTORS = {"identity": 50, "azimuth": 21, "elevation": 11, "lighting": 11}
AZIMUTHS = tuple(-90.0 + 9.0 * k for k in range(FACTORS["azimuth"]))
ELEVATIONS = tuple(-30.0 + 6.0 * k for k in range(FACTORS["elevation"]))
LIGHTINGS = tuple(-75.0 + 15.0 * k for k in range(FACTORS["lighting"]))

_LIGHT_HEIGHT = 25.0
_AMBIENT = 0.18
_SAMPLES = 2
_HALF_WIDTH = 1.45


def heads(size: int = 64, *, seed: int = 0) -> GroundTruth:
    r"""127,050 grey images of heads: 50 identities, azimuth 21, elevation 11, lighting 11.

    The factors are those of the 3-D face model on which disentanglement is usually measured, whose
    images may not be passed on; these heads are computed instead, from nothing but a seed. A head
    is a skull, a jaw and a neck melted together, with brows, eyes, nose, cheeks, mouth, chin and
    ears as smooth hills and hollows; 22 proportions, drawn uniformly around a mean, are the
    identity. Light of one direction falls on matt skin:

    .. math::
        x = a \left[ c + (1 - c) \max(0, n \cdot l) \right], \qquad c = 0.18,

    with the skin's albedo :math:`a`, its normal :math:`n` and the direction of the light :math:`l`.
    No shadow is cast. The background is 0. Each pixel is the mean of 2 x 2 samples, without
    perspective.

    - ``azimuth``: the head looks -90 to 90 degrees to the viewer's right, in steps of 9;
    - ``elevation``: it is seen from -30 (below) to 30 degrees (above), in steps of 6;
    - ``lighting``: the light comes from -75 to 75 degrees to the viewer's right, in steps of 15,
      and 25 degrees above the viewer, wherever the head looks.

    Args:
        size: Height and width of the images.
        seed: Of the 50 people; the global generator is left as it was.

    Returns:
        The grid. It keeps the surface of each identity that was drawn once: 3.7 MB each at size 64.

    Raises:
        DataError: ``size`` is not positive.

    Reference:
        The original: Paysan et al., A 3D face model for pose and illumination invariant face
        recognition, 2009, https://doi.org/10.1109/AVSS.2009.58; with these numbers of factor values
        in Chen et al., Isolating sources of disentanglement in variational autoencoders, 2018,
        section 6, https://arxiv.org/abs/1802.04942.

    >>> heads(32).images([[0, 10, 5, 5]]).shape
    torch.Size([1, 1, 32, 32])
    """
    with arguments.raised_as(DataError):
        arguments.annotated(heads, locals(), size=1, seed=0)
    return GroundTruth("heads", FACTORS, (1, size, size), _Studio(size, seed))


class _Studio:
    """Draws heads; a pose is projected once for all its lightings in a batch."""

    def __init__(self, size: int, seed: int) -> None:
        self._width = _SAMPLES * size
        self._people = _people(seed)
        self._surfaces: dict[int, tuple[StarSurface, Tensor]] = {}
        self._lights = torch.tensor([_direction(angle, _LIGHT_HEIGHT) for angle in LIGHTINGS])

    def __call__(self, factors: Int[Tensor, "n 4"]) -> Float[Tensor, "n 1 size size"]:
        size = self._width // _SAMPLES
        images = torch.empty(len(factors), 1, size, size)
        poses, pose_of_row = factors[:, :3].unique(dim=0, return_inverse=True)
        for pose, (identity, azimuth, elevation) in enumerate(poses.tolist()):
            rows = (pose_of_row == pose).nonzero()[:, 0]
            rotation = turned(AZIMUTHS[azimuth], ELEVATIONS[elevation])
            lights = self._lights[factors[rows, 3]]
            images[rows] = self._lit(identity, rotation, lights)
        return images

    def _lit(self, identity: int, rotation: Tensor, lights: Tensor) -> Tensor:
        surface, albedo = self._surface(identity)
        nearest = surface.nearest(rotation, self._width, _HALF_WIDTH)
        x, y, z = rotated(surface.normals[:, nearest], rotation)
        reflected = torch.where(nearest >= 0, albedo[nearest], 0.0)
        lambert = lights[:, :1] * x + lights[:, 1:2] * y + lights[:, 2:] * z
        shade = reflected * (_AMBIENT + (1.0 - _AMBIENT) * lambert.clamp_(min=0.0))
        return avg_pool2d(shade.view(-1, 1, self._width, self._width), _SAMPLES)

    def _surface(self, identity: int) -> tuple[StarSurface, Tensor]:
        if identity not in self._surfaces:
            head = self._people[identity]
            surface = star_surface(head, POINTS_PER_PIXEL * self._width**2)
            albedo = head.albedo(normalize(surface.points.T.double(), dim=1)).float()
            self._surfaces[identity] = surface, albedo
        return self._surfaces[identity]


def _people(seed: int) -> list[Head]:
    generator = torch.Generator().manual_seed(int(seed))
    shape = FACTORS["identity"], len(PROPORTIONS)
    departures = 2.0 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1.0
    return [
        Head(
            {
                name: mean + spread * departure
                for (name, (mean, spread)), departure in zip(PROPORTIONS.items(), row, strict=True)
            }
        )
        for row in departures.tolist()
    ]


def _direction(right: float, above: float) -> tuple[float, float, float]:
    a, e = math.radians(right), math.radians(above)
    return math.sin(a) * math.cos(e), math.sin(e), math.cos(a) * math.cos(e)
