import pytest
import torch

from pyro_decomp.data.rendered.heads import (
    _HALF_WIDTH,
    AZIMUTHS,
    ELEVATIONS,
    LIGHTINGS,
    PROPORTIONS,
    Head,
    heads,
)
from pyro_decomp.data.rendered.star_surface import fibonacci_sphere, turned
from pyro_decomp.errors import DataError

SMALL = heads(24)
FRONT = [10, 5, 5]


def test_the_grid_has_the_numbers_of_the_3d_faces() -> None:
    assert SMALL.factor_names == ("identity", "azimuth", "elevation", "lighting")
    assert SMALL.factor_sizes == (50, 21, 11, 11)
    assert len(SMALL) == 127050
    assert heads().image_shape == (1, 64, 64)


def test_values_are_evenly_spaced_and_meet_in_the_middle() -> None:
    for values, end in ((AZIMUTHS, 90.0), (ELEVATIONS, 30.0), (LIGHTINGS, 75.0)):
        expected = torch.linspace(-end, end, len(values), dtype=torch.float64)
        torch.testing.assert_close(torch.tensor(values, dtype=torch.float64), expected)


def test_an_image_is_the_same_bits_alone_in_a_batch_and_again() -> None:
    factors = torch.tensor([[3, 4, 5, 6], [1, 20, 0, 10], [3, 4, 5, 0], [1, 20, 0, 10]])
    images = SMALL.images(factors)
    assert torch.equal(images[1], images[3])
    for row, image in zip(factors, images, strict=True):
        assert torch.equal(SMALL.images(row[None])[0], image)
    assert torch.equal(heads(24, seed=0).images(factors), images)


def test_a_seed_is_another_fifty_people_and_no_draw_of_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    others = heads(24, seed=1).images([[0, *FRONT]])
    assert torch.equal(torch.random.get_rng_state(), before)
    assert (others - SMALL.images([[0, *FRONT]])).abs().mean() > 0.01


def test_no_factors_are_no_images() -> None:
    assert SMALL.images(torch.empty(0, 4, dtype=torch.int64)).shape == (0, 1, 24, 24)


@pytest.mark.full
def test_every_identity_is_a_face_of_its_own() -> None:
    faces = heads(8).images([[k, *FRONT] for k in range(50)]).flatten(1)
    apart = torch.cdist(faces, faces, p=1) / faces.shape[1]
    assert (apart + torch.eye(50)).min() > 0.005


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_values_of_a_factor_give_distinct_images(factor: int) -> None:
    rows = torch.tensor([[7, *FRONT]]).repeat(SMALL.factor_sizes[factor], 1)
    rows[:, factor] = torch.arange(len(rows))
    images = SMALL.images(rows).flatten(1)
    apart = torch.cdist(images, images, p=1) / images.shape[1]
    assert (apart + torch.eye(len(rows))).min() > 0.005


def test_a_head_is_its_own_mirror_image() -> None:
    """Turned and lit the other way, it is the picture the other way round, up to the sampling."""
    there = SMALL.images([[5, 13, 7, 8], [6, 2, 1, 3]])
    mirrored = SMALL.images([[5, 7, 7, 2], [6, 18, 1, 7]]).flip(-1)
    assert (there - mirrored).abs().mean() < 0.01
    assert (there - there.flip(-1)).abs().mean() > 0.05


def test_light_moves_from_left_to_right() -> None:
    images = SMALL.images([[4, 10, 5, light] for light in range(11)])
    columns = images.sum((1, 2))
    centre = (columns * torch.arange(24.0)).sum(1) / columns.sum(1)
    assert (centre.diff() > 0).all()


def test_a_profile_looks_right_at_the_end_of_azimuth_and_a_nose_sinks_with_elevation() -> None:
    shape = Head({name: mean for name, (mean, _) in PROPORTIONS.items()})
    nose = fibonacci_sphere(20000)
    nose = nose[(nose[:, 1] < 0) & (nose[:, 2] > 0.9)]
    points = (nose * shape(nose)[:, None]).float()
    tip = points[points[:, 2].argmax()]
    across = [(turned(azimuth, 0.0) @ tip)[0].item() for azimuth in AZIMUTHS]
    down = [(turned(0.0, elevation) @ tip)[1].item() for elevation in ELEVATIONS]
    assert across == sorted(across)
    assert down == sorted(down, reverse=True)
    outline = SMALL.images([[9, 20, 5, 5]])[0, 0] > 0
    reach = torch.where(outline, torch.arange(24), -1).amax(1)
    assert 12 <= reach.argmax() <= 16  # the nose, below the middle between the ears


def test_light_is_reflected_as_lambert_says() -> None:
    """Where all lights reach, x = a [c + (1 - c) n . l]: affine in the light's sine and cosine."""
    images = SMALL.images([[2, 10, 5, light] for light in range(11)]).double().flatten(1)
    angle = torch.deg2rad(torch.tensor(LIGHTINGS, dtype=torch.float64))
    basis = torch.stack([torch.ones(11, dtype=torch.float64), angle.sin(), angle.cos()], dim=1)
    fit = torch.linalg.lstsq(basis, images).solution
    reached = ((basis @ fit - images).abs().amax(0) < 1e-6) & (images.amax(0) > 0)
    assert reached.sum() >= 20
    assert (images[:, reached] > 0.18 * 0.2).all()
    # Elsewhere a side that the light does not reach keeps the ambient light alone: 0.18 of a
    dark = (images[:3] == images[0]).all(0) & (images[0] > 0)
    assert dark.sum() >= 20
    assert images[0, dark].max() == pytest.approx(0.18, abs=1e-6)


def test_the_background_is_black_and_nothing_beyond_white() -> None:
    images = SMALL.images([[2, 10, 5, light] for light in range(11)])
    assert images.min() == 0.0
    assert 0.9 < images.max() <= 1.0
    assert (images[..., ::23, ::23] == 0.0).all()


def test_every_head_fits_the_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    directions = fibonacci_sphere(2000)
    extremes = torch.randint(2, (30, len(PROPORTIONS)), generator=generator) * 2.0 - 1.0
    for signs in [*extremes.tolist(), [1.0] * len(PROPORTIONS)]:
        shape = Head(
            {
                name: mean + spread * sign
                for (name, (mean, spread)), sign in zip(PROPORTIONS.items(), signs, strict=True)
            }
        )
        radius = shape(directions)
        assert radius.max() < _HALF_WIDTH
        assert radius.min() > 0.3
        assert shape.albedo(directions).min() > 0.1
        assert shape.albedo(directions).max() <= 1.0


def test_a_head_has_no_hole() -> None:
    """Background with head in 7 of the 8 pixels around it would be a missing point."""
    covered = (heads(64).images([[8, 18, 0, 5], [8, 10, 10, 5]]) > 0).float()
    around = torch.nn.functional.conv2d(covered, torch.ones(1, 1, 3, 3), padding=1)
    assert not ((covered == 0) & (around >= 7)).any()
    assert covered.mean() > 0.3


def test_size_must_be_positive() -> None:
    with pytest.raises(DataError, match=r"^size: expected a positive whole number, got 0"):
        heads(0)
