import math
from collections.abc import Callable

import pytest
import torch

from pyro_decomp.data import pinwheel, pinwheel_labels
from pyro_decomp.errors import DataError


def by_the_formula(
    *,
    num_arms: int,
    points_per_arm: int,
    radial_scale: float,
    tangential_scale: float,
    rate: float,
    seed: int,
) -> list[list[float]]:
    """The formula of the paper, point by point, in Python's own arithmetic."""
    generator = torch.Generator().manual_seed(seed)
    count = num_arms * points_per_arm
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64).tolist()
    points = []
    for index, (first, second) in enumerate(noise):
        x_1 = tangential_scale * first + 1.0
        x_2 = radial_scale * second + 0.0
        angle = 2.0 * math.pi * (index // points_per_arm) / num_arms + rate * math.exp(x_1)
        rotation = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        points.append([x_1 * rotation[0][i] + x_2 * rotation[1][i] for i in range(2)])
    return points


PUBLISHED = {
    "num_arms": 4,
    "points_per_arm": 100,
    "radial_scale": 0.1,
    "tangential_scale": 0.3,
    "rate": 0.25,
    "seed": 0,
}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_arms": 3, "points_per_arm": 7, "rate": 0.4, "seed": 11},
        {"num_arms": 1, "radial_scale": 0.0, "tangential_scale": 1.0, "rate": 0.0},
    ],
)
def test_points_follow_the_formula(changes: dict[str, float]) -> None:
    settings = PUBLISHED | changes
    expected = torch.tensor(by_the_formula(**settings), dtype=torch.float64)
    points = pinwheel(**settings, dtype=torch.float64)
    torch.testing.assert_close(points, expected, rtol=0, atol=1e-12)


def test_defaults_are_the_published_settings() -> None:
    torch.testing.assert_close(pinwheel(), torch.tensor(by_the_formula(**PUBLISHED)))


def test_a_seed_is_one_draw_in_every_precision() -> None:
    torch.testing.assert_close(pinwheel(seed=3), pinwheel(seed=3), rtol=0, atol=0)
    assert torch.equal(pinwheel(seed=3), pinwheel(seed=3, dtype=torch.float64).float())
    assert not torch.equal(pinwheel(seed=3), pinwheel(seed=4))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    pinwheel(seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_arm_unbent_lies_on_its_own_ray() -> None:
    """Without the bend, arm k is a straight Normal blob around the ray at angle -2 pi k / K."""
    num_arms, points_per_arm = 5, 4000
    points = pinwheel(num_arms, points_per_arm, rate=0.0, dtype=torch.float64)
    labels = pinwheel_labels(num_arms, points_per_arm)
    for arm in range(num_arms):
        angle = torch.tensor(-2.0 * math.pi * arm / num_arms, dtype=torch.float64)
        along, across = (
            torch.stack([angle.cos(), angle.sin()]),
            torch.stack([-angle.sin(), angle.cos()]),
        )
        mine = points[labels == arm]
        tolerance = 4.3 / points_per_arm**0.5
        assert abs((mine @ along).mean() - 1.0) < tolerance * 0.3
        assert abs((mine @ across).mean()) < tolerance * 0.1
        assert abs((mine @ along).std() / 0.3 - 1.0) < tolerance
        assert abs((mine @ across).std() / 0.1 - 1.0) < tolerance


def test_arms_bend_more_the_further_out_they_are() -> None:
    points = pinwheel(1, 1000, radial_scale=0.0, dtype=torch.float64)
    radius = points.norm(dim=1)
    turned = -torch.atan2(points[:, 1], points[:, 0])
    near = (radius < 2.0) & (radius > 0.2)
    outside = points[:, 0] * (0.25 * radius.exp()).cos() > 0  # not past the centre
    chosen = near & outside
    assert chosen.sum() > 900
    torch.testing.assert_close(turned[chosen], 0.25 * radius[chosen].exp())


@pytest.mark.parametrize("make", [pinwheel, pinwheel_labels])
@pytest.mark.parametrize(("sizes", "culprit"), [((0, 5), "num_arms"), ((4, -1), "points_per_arm")])
def test_sizes_must_be_positive(
    make: Callable[..., torch.Tensor], sizes: tuple[int, int], culprit: str
) -> None:
    with pytest.raises(DataError, match=f"^{culprit}: expected a positive whole number, got"):
        make(*sizes)
