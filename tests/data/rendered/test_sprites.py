import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from pyro_decomp.data.rendered.sprites import (
    ELLIPSE_AXES,
    HEART_WIDTH,
    SHAPES,
    SIZES,
    SQUARE_SIDE,
    ellipse,
    heart,
    sprite,
    sprites,
    square,
)
from pyro_decomp.errors import DataError

DOTS = 2000
AT = ((torch.arange(DOTS) + 0.5) / DOTS - 0.5).double()
X, Y = AT, AT[:, None]


@pytest.mark.parametrize(
    ("inside", "area"),
    [
        (square, SQUARE_SIDE**2),
        (ellipse, math.pi / 4 * math.prod(ELLIPSE_AXES)),
        # Half the integral of x dy - y dx over the curve.
        (heart, 180 * math.pi * (HEART_WIDTH / 32) ** 2),
    ],
)
def test_area(inside, area: float) -> None:
    """By counting dots: those of the outline, some 4 x .4 x 2000, are right half the time."""
    assert inside(X, Y).double().mean() == pytest.approx(area, abs=200 / DOTS**2)


def curve(t: Tensor, size: float) -> tuple[Tensor, Tensor]:
    x = 16 * t.sin() ** 3
    y = 13 * t.cos() - 5 * (2 * t).cos() - 2 * (3 * t).cos() - (4 * t).cos()
    middle = (y.max() + y.min()) / 2
    unit = size * HEART_WIDTH / 32
    return unit * x, unit * (y - middle)


def test_the_heart_lies_within_its_curve() -> None:
    """Its bounding box's centre lies inside, and towards it the curve runs inwards."""
    t = torch.linspace(0, 2 * math.pi, 4001, dtype=torch.float64)
    corners = (t[1:-1] - math.pi).abs() > 0.02
    assert heart(*curve(t, 0.99))[1:-1][corners].all()
    outside = heart(*curve(t, 1.01))[1:-1]
    notch = torch.minimum(t, 2 * math.pi - t)[1:-1] < 0.3
    assert not outside[corners & ~notch].any()


def test_the_heart_is_centred_on_its_bounding_box() -> None:
    rows = heart(X, Y).any(1).nonzero().flatten()
    columns = heart(X, Y).any(0).nonzero().flatten()
    assert rows[0] + rows[-1] == pytest.approx(DOTS - 1, abs=4)  # the tip is thinner than a dot
    assert columns[0] + columns[-1] == DOTS - 1
    assert (columns[-1] - columns[0] + 1) / DOTS == pytest.approx(HEART_WIDTH, abs=1 / DOTS)


SQUARE, ELLIPSE, HEART = range(3)


@pytest.fixture(scope="module")
def drawn() -> Tensor:
    """Every sprite at position 0: shape, scale, orientation, row, column."""
    images, _ = sprites().subset(x=[0], y=[0]).materialise()
    return images.view(3, 6, 40, 64, 64)


def centroid(images: Tensor) -> Tensor:
    """Column and row, in pixels from the upper left corner of the frame."""
    at = torch.arange(images.shape[-1]) + 0.5
    rows, columns = images.sum(-1), images.sum(-2)
    return torch.stack([columns @ at, rows @ at], -1) / images.sum((-2, -1))[..., None]


def test_the_grid_is_that_of_dsprites() -> None:
    data = sprites()
    assert data.factor_names == ("shape", "scale", "orientation", "x", "y")
    assert data.factor_sizes == (3, 6, 40, 32, 32)
    assert len(data) == 737_280
    assert torch.equal(data.index(data.factors()), torch.arange(len(data)))
    assert torch.equal(
        data.factors(), torch.cartesian_prod(*(torch.arange(n) for n in data.factor_sizes))
    )


def test_area_grows_with_scale_as_its_square(drawn: Tensor) -> None:
    area = drawn.sum((-2, -1))
    assert (area.diff(dim=1) > 0).all()
    exact = torch.tensor([0.3**2, math.pi * 0.2 * 0.1125, 180 * math.pi * (0.315 / 32) ** 2])
    expected = 64**2 * exact[:, None] * torch.linspace(0.5, 1, 6).square()
    # Outlines of 33 to 77 pixels, each of them a pixel of which up to a half is gained or lost.
    torch.testing.assert_close(area.mean(2), expected, rtol=0.03, atol=0)


def test_pixels_are_those_that_are_known_of_the_original(drawn: Tensor) -> None:
    """Measured on dsprites.gif, where the centre lies at (16, 16) too."""
    upright = drawn[SQUARE, :, 0]
    assert upright.any(-1).sum(-1).tolist() == [10, 12, 14, 16, 18, 20]
    area = drawn[:, 5].sum((-2, -1))
    for shape, least, most in ((SQUARE, 364, 372), (ELLIPSE, 286, 292), (HEART, 219, 232)):
        turned = area[shape, 1:39]
        assert least - 4 <= turned.min()
        assert turned.max() <= most + 4
    middle = centroid(drawn[:2].flatten(0, 2))
    torch.testing.assert_close(middle, torch.full_like(middle, 16.0), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        centroid(drawn[HEART, 5, 0]), torch.tensor([16.0, 14.07]), rtol=0, atol=0.2
    )


def test_the_first_and_last_orientation_are_one_image(drawn: Tensor) -> None:
    assert torch.equal(drawn[:, :, 0], drawn[:, :, 39])
    assert len(drawn[HEART, 5].flatten(1).unique(dim=0)) == 39


@pytest.mark.parametrize("name", SHAPES)
def test_a_quarter_turn_turns_the_picture_anticlockwise(name: str) -> None:
    for orientation in (0.0, 0.3, 1.1):
        before = sprite(SHAPES[name], 0.9, orientation)
        after = sprite(SHAPES[name], 0.9, orientation + math.pi / 2)
        assert torch.equal(after, before.rot90())


@pytest.mark.parametrize(("name", "period"), [("square", 4), ("ellipse", 2), ("heart", 1)])
def test_symmetries(name: str, period: int) -> None:
    """As many turns as the shape has symmetries carry it into itself, and no others."""
    start = sprite(SHAPES[name], 1.0, 0.2)
    same = [
        torch.equal(start, sprite(SHAPES[name], 1.0, 0.2 + 2 * math.pi * k / 12)) for k in range(12)
    ]
    assert same == [k % (12 // period) == 0 for k in range(12)]


def test_orientation_runs_evenly_around_the_circle(drawn: Tensor) -> None:
    away = centroid(drawn[HEART, 5]) - 16.0
    turned = torch.atan2(-away[:, 1], away[:, 0]) - math.pi / 2
    expected = torch.linspace(0, 2 * math.pi, 40)
    off = (turned - expected + math.pi) % (2 * math.pi) - math.pi
    assert off.abs().max() < 0.06  # 0.11 pixels at the centroid's distance of 1.9


@pytest.mark.full(but=["16"])
@pytest.mark.parametrize("size", SIZES)
def test_positions_are_translations(size: int) -> None:
    data = sprites(size)
    whole = max(64 // size, 1)  # steps that are whole pixels
    step = size * whole // 64
    rows = data.sample_factors(200, seed=size)
    start = rows.clone()
    start[:, 3:] %= whole
    moved = data.images(rows)[:, 0]
    for image, first, factors in zip(moved, data.images(start)[:, 0], rows, strict=True):
        right, down = ((factors[3:] // whole) * step).tolist()
        assert torch.equal(image, first.roll((down, right), (0, 1)))
    symmetric = rows[:, 0] != HEART
    centre = size / 4 + rows[symmetric, 3:] * size / 64
    # Steps down to half a pixel move the outline by whole dots on either side alike.
    atol = 1e-4 if size > 16 else 0.3
    torch.testing.assert_close(centroid(moved[symmetric]), centre, rtol=0, atol=atol)


@pytest.mark.full(but=["64"])
@pytest.mark.parametrize("size", SIZES)
def test_sprites_never_touch_the_edge(size: int) -> None:
    images, _ = sprites(size).subset(scale=[5], x=[0, 31], y=[0, 31]).materialise()
    assert images.sum((-2, -1)).min() > 0
    assert images[..., 1:-1, 1:-1].sum() == images.sum()


@pytest.mark.parametrize(("small", "large"), [(16, 32), (16, 64), (32, 64), (64, 128)])
def test_sizes_agree(small: int, large: int) -> None:
    """A pixel whose parts are all at least, or all less than, half covered is so itself."""
    factors = sprites().sample_factors(500, seed=small)
    coarse = sprites(small).images(factors)
    pooled = avg_pool2d(sprites(large).images(factors), large // small)
    agreed = (pooled == 0) | (pooled == 1)
    torch.testing.assert_close(coarse[agreed], pooled[agreed], rtol=0, atol=0)
    torch.testing.assert_close(coarse.mean(), pooled.mean(), rtol=0.04, atol=0)


def test_images_are_drawn_the_same_each_time() -> None:
    factors = sprites().sample_factors(100)
    assert torch.equal(sprites().images(factors), sprites().images(factors))
    first, second = (
        sprite(SHAPES["heart"], 0.6, 2.0, size=32) for _ in range(2)
    )  # past the cache of drawings
    assert torch.equal(first, second)


def test_other_sizes_are_refused() -> None:
    with pytest.raises(DataError, match=r"^size: expected one of 16, 32, 64, 128, got 48$"):
        sprites(48)
