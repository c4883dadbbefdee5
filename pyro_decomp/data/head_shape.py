"""The shape of a head as the distance of its surface from a point between the ears."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

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
