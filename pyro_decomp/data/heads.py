"""Shaded heads of 50 people: a generated stand-in for the 3-D faces, which may not be shared."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from pyro_decomp import arguments
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.data.head_shape import PROPORTIONS, Head
from pyro_decomp.data.star_surface import (
    POINTS_PER_PIXEL,
    StarSurface,
    rotated,
    star_surface,
    turned,
)
from pyro_decomp.errors import DataError

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
    generator = torch.Generator().manual_seed(seed)
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
