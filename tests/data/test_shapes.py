import math

import pytest
import torch
from torch import Tensor

from pyro_decomp.data.shapes import ELLIPSE_AXES, HEART_WIDTH, SQUARE_SIDE, ellipse, heart, square

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
