import torch

from pyro_decomp.data.solids import SOLIDS, capsule, cube, cylinder, sphere
from pyro_decomp.data.star_surface import Radius, fibonacci_sphere


def surface(radius: Radius) -> torch.Tensor:
    directions = fibonacci_sphere(2000)
    return directions * radius(directions)[:, None]


def assert_all(values: torch.Tensor, expected: float) -> None:
    torch.testing.assert_close(values, torch.full_like(values, expected), rtol=0, atol=1e-12)


def test_a_cube_has_one_coordinate_at_its_side() -> None:
    assert_all(surface(cube).abs().amax(1), 0.32)


def test_a_cylinder_ends_at_its_side_or_lid() -> None:
    points = surface(cylinder)
    side, lid = points[:, ::2].norm(dim=1) / 0.32, points[:, 1].abs() / 0.36
    assert_all(torch.maximum(side, lid), 1.0)
    assert (lid > 1 - 1e-12).sum() > 300
    assert (side > 1 - 1e-12).sum() > 300


def test_a_sphere_has_one_radius() -> None:
    assert_all(surface(sphere).norm(dim=1), 0.36)


def test_a_capsule_keeps_its_distance_from_a_line() -> None:
    points = surface(capsule)
    on_line = torch.zeros_like(points)
    on_line[:, 1] = points[:, 1].clamp(-0.20, 0.20)
    assert_all((points - on_line).norm(dim=1), 0.26)


def test_the_height_is_twice_the_half() -> None:
    up = torch.tensor([[1e-9, 1.0, 0.0]], dtype=torch.float64)
    for solid in SOLIDS:
        assert_all(solid.radius(torch.cat([up, -up])), solid.half_height)
