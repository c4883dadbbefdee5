import colorsys
import math

import pytest
import torch

from pyro_decomp.data.rendered.scenes import (
    ORIENTATIONS,
    SCALES,
    SOLIDS,
    capsule,
    cube,
    cylinder,
    scenes,
    sphere,
)
from pyro_decomp.data.rendered.star_surface import Radius, fibonacci_sphere
from pyro_decomp.errors import DataError


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


SMALL = scenes(32)
CUBE, CYLINDER, SPHERE, CAPSULE = range(4)


def hue(pixel: torch.Tensor) -> float:
    return colorsys.rgb_to_hsv(*pixel.tolist())[0]


def object_pixels(*factors: int, size: int = 32) -> float:
    """Area of the object in pixels: an object without red before a room without green and blue."""
    image = scenes(size).images([[0, 0, 5, *factors]])[0]
    return ((image[1] > 0) & (image[0] == 0)).sum().item()


def test_the_grid_is_that_of_3d_shapes() -> None:
    assert SMALL.factor_names == (
        "floor_hue",
        "wall_hue",
        "object_hue",
        "scale",
        "shape",
        "orientation",
    )
    assert SMALL.factor_sizes == (10, 10, 10, 8, 4, 15)
    assert len(SMALL) == 480000


@pytest.mark.parametrize("shape", [CUBE, CYLINDER, SPHERE, CAPSULE])
@pytest.mark.parametrize("orientation", [0, 7, 14])
def test_colours_are_where_they_belong(shape: int, orientation: int) -> None:
    image = SMALL.images([[1, 4, 8, 3, shape, orientation]])[0]
    assert hue(image[:, -1, 16]) == pytest.approx(0.1, abs=1e-5)
    assert hue(image[:, 0, 0]) == pytest.approx(0.4, abs=1e-5)
    assert hue(image[:, 0, -1]) == pytest.approx(0.4, abs=1e-5)
    assert hue(image[:, 17, 16]) == pytest.approx(0.8, abs=1e-5)


def test_a_hue_changes_nothing_but_its_own_part() -> None:
    first, second = SMALL.images([[0, 0, 3, 4, 2, 5], [5, 0, 3, 4, 2, 5]])
    changed = (first != second).any(0)
    assert changed[-1].all()
    assert not changed[0].any()
    assert not changed[17, 16]


@pytest.mark.parametrize("scale", [0, 7])
def test_a_sphere_is_a_disc_of_its_size(scale: int) -> None:
    radius = 0.36 * SCALES[scale] * 32  # 64 pixels across a width of 2
    expected = math.pi * radius**2
    pixel_all_around = 2 * math.pi * radius
    assert abs(object_pixels(scale, SPHERE, 3, size=64) - expected) < pixel_all_around


@pytest.mark.parametrize("shape", [CUBE, CYLINDER, SPHERE, CAPSULE])
def test_objects_grow_with_scale(shape: int) -> None:
    areas = [object_pixels(scale, shape, 7) for scale in range(8)]
    assert areas == sorted(areas)
    assert areas[7] / areas[0] == pytest.approx((SCALES[7] / SCALES[0]) ** 2, rel=0.15)


def test_every_scene_is_distinct_and_the_same_bits_again() -> None:
    rows = [[0, 3, 6, k, s, o] for k in (0, 1) for s in range(4) for o in (0, 6, 7, 14)]
    images = SMALL.images(rows).flatten(1)
    apart = torch.cdist(images, images, p=1) / images.shape[1]
    assert (apart + torch.eye(len(rows))).min() > 1e-3
    assert torch.equal(scenes(32).images(rows[20:21])[0].flatten(), images[20])
    assert images.min() >= 0.0
    assert images.max() <= 1.0


def test_the_corner_of_the_room_moves_with_orientation() -> None:
    """Two walls 0.8 away, each at 45 degrees, meet 0.8 sqrt(2) behind the middle."""
    rows = SMALL.images([[0, 0, 0, 0, 2, o] for o in range(15)])[:, 0, 0]
    corner = rows.diff().abs().argmax(1)
    angle = torch.deg2rad(torch.tensor(ORIENTATIONS))
    expected = (1.0 - 0.8 * math.sqrt(2.0) * angle.sin()) * 16
    assert (corner + 1 - expected).abs().max() <= 1.0


def test_size_must_be_positive() -> None:
    with pytest.raises(DataError, match=r"^size: expected a positive whole number, got -1"):
        scenes(-1)
