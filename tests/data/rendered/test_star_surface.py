import math

import pytest
import torch

from pyro_decomp.data.rendered.star_surface import fibonacci_sphere, rotated, star_surface, turned

AXES = torch.tensor([0.5, 0.8, 0.3], dtype=torch.float64)


def ellipsoid(directions: torch.Tensor) -> torch.Tensor:
    return (directions / AXES).norm(dim=1).reciprocal()


def test_directions_are_spread_evenly() -> None:
    """Their first moments, and second beside the identity's third, vanish as the points grow."""
    directions = fibonacci_sphere(5000)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(5000, dtype=torch.float64))
    assert directions.mean(0).abs().max() < 1e-4
    second = directions.T @ directions / 5000
    assert (second - torch.eye(3, dtype=torch.float64) / 3).abs().max() < 1e-4


def test_points_and_normals_of_an_ellipsoid() -> None:
    """A point p with sum (p / a)^2 = 1 has its normal along p / a^2."""
    surface = star_surface(ellipsoid, 500)
    points = surface.points.T.double()
    torch.testing.assert_close(
        (points / AXES).square().sum(1), torch.ones(500, dtype=torch.float64), rtol=0, atol=1e-6
    )
    expected = torch.nn.functional.normalize(points / AXES**2, dim=1)
    torch.testing.assert_close(surface.normals.T.double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "axis", "goes_to"),
    [
        (90.0, 0.0, [0, 0, 1], [1, 0, 0]),
        (-90.0, 0.0, [0, 0, 1], [-1, 0, 0]),
        (0.0, 90.0, [0, 1, 0], [0, 0, 1]),
        (0.0, 90.0, [0, 0, 1], [0, -1, 0]),
        (90.0, 90.0, [0, 1, 0], [0, 0, 1]),
    ],
    ids=["to the right", "to the left", "the top", "the face", "the top, turned"],
)
def test_turning(azimuth: float, elevation: float, axis: list[int], goes_to: list[int]) -> None:
    matrix = turned(azimuth, elevation)
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3))
    assert matrix.det().item() == pytest.approx(1.0, abs=1e-6)
    vector = rotated(torch.tensor([axis], dtype=torch.float32).T, matrix)[:, 0]
    torch.testing.assert_close(vector, torch.tensor(goes_to, dtype=torch.float32))


def test_the_nearest_point_of_an_ellipsoid_is_where_the_ray_meets_it() -> None:
    """Along z, rotated, the front of {p : sum (p / a)^2 = 1} is the root of a quadratic."""
    size, half_width = 64, 1.0
    rotation = turned(35.0, 20.0)
    surface = star_surface(ellipsoid, 8 * size**2)
    nearest = surface.nearest(rotation, size, half_width).view(size, size)

    x, y, z = rotated(surface.points, rotation)
    matrix = rotation.double() @ torch.diag(AXES**-2) @ rotation.double().T
    centres = (torch.arange(size, dtype=torch.float64) + 0.5) / size * 2.0 - 1.0
    rows, columns = torch.meshgrid(-centres, centres, indexing="ij")
    b = matrix[2, 0] * columns + matrix[2, 1] * rows
    c = matrix[0, 0] * columns**2 + 2 * matrix[0, 1] * columns * rows + matrix[1, 1] * rows**2 - 1
    discriminant = b**2 - matrix[2, 2] * c

    pixel = 2.0 * half_width / size
    inside = discriminant > 0.5
    assert inside.sum() > 300
    assert (nearest[inside] >= 0).all()
    front = (-b + discriminant.clamp(min=0).sqrt()) / matrix[2, 2]
    shown = nearest[inside]
    assert ((x[shown] - columns[inside]).abs() < 0.51 * pixel).all()
    assert ((y[shown] - rows[inside]).abs() < 0.51 * pixel).all()
    assert ((z[shown] - front[inside]).abs() < 2 * pixel).all()
    assert (nearest[discriminant < -1.0] == -1).all()


def test_the_outline_has_the_area_of_a_disc() -> None:
    surface = star_surface(lambda directions: 0.7 * directions.square().sum(1), 8 * 128**2)
    covered = (surface.nearest(turned(0.0, 0.0), 128, 1.0) >= 0).sum().item()
    area = covered * (2.0 / 128) ** 2
    edge = 2 * math.pi * 0.7 * (2.0 / 128)  # a pixel's width all around
    assert math.pi * 0.7**2 < area < math.pi * 0.7**2 + edge


def test_a_part_is_rotated_to_the_same_bits() -> None:
    vectors = fibonacci_sphere(1003).T.float()
    matrix = turned(12.0, -7.0)
    assert torch.equal(rotated(vectors, matrix)[:, 500:507], rotated(vectors[:, 500:507], matrix))
