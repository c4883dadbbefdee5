"""The pinwheel: bent arms in the plane, the smallest data set with clusters."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.errors import DataError


def pinwheel(
    num_arms: int = 4,
    points_per_arm: int = 100,
    *,
    radial_scale: float = 0.1,
    tangential_scale: float = 0.3,
    rate: float = 0.25,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "points 2"]:
    r"""Points on the arms of a pinwheel, arm by arm, neither rescaled nor shuffled.

    .. math::
        x = (1 + s_t \epsilon_1, \; s_r \epsilon_2), \quad
        a = 2 \pi k / K + r \exp(x_1), \quad
        y = x \begin{pmatrix} \cos a & -\sin a \\ \sin a & \cos a \end{pmatrix}

    for arm :math:`k` of :math:`K`, :math:`\epsilon \sim \mathcal{N}(0, I)`. The published settings
    are the defaults, and their test set is a second draw: another ``seed``. The noise is drawn in
    float64 whatever ``dtype`` is, so the same seed gives the same points in every precision.

    Args:
        num_arms: :math:`K`.
        points_per_arm: Points on each arm.
        radial_scale: :math:`s_r`, the standard deviation across an arm. The names of the two scales
            are the paper's: measured from the centre, an arm runs outwards.
        tangential_scale: :math:`s_t`, the standard deviation along an arm.
        rate: :math:`r`, how far an arm bends, in radians.
        seed: Of this draw alone; the global generator is left as it was.
        dtype: Of the result.

    Returns:
        The points, ``points_per_arm`` for arm 0, then arm 1, and so on.

    Raises:
        DataError: There is no arm, or no point.

    Reference:
        Johnson et al., Composing graphical models with neural networks for structured
        representations and fast inference, 2016, https://arxiv.org/abs/1603.06277; with these
        settings Mathieu et al., Disentangling disentanglement in variational autoencoders, 2019,
        section 6.2, https://arxiv.org/abs/1812.02833.

    >>> pinwheel(num_arms=5, points_per_arm=20).shape
    torch.Size([100, 2])
    """
    with arguments.raised_as(DataError):
        arguments.annotated(pinwheel, locals())
    arms = pinwheel_labels(num_arms, points_per_arm)
    with arguments.raised_as(DataError):
        arguments.number("(-inf, inf)", rate=rate)
        scales = {"radial_scale": radial_scale, "tangential_scale": tangential_scale}
        arguments.number("[0, inf)", **scales)
        arguments.whole(-(2**63), 2**64 - 1, seed=seed)
        arguments.instance(torch.dtype, "a type of torch", dtype=dtype)
    generator = torch.Generator().manual_seed(int(seed))
    noise = torch.randn(len(arms), 2, generator=generator, dtype=torch.float64)
    along, across = 1.0 + float(tangential_scale) * noise[:, 0], float(radial_scale) * noise[:, 1]
    angle = 2.0 * torch.pi * arms.double() / num_arms + float(rate) * along.exp()
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([along * cos + across * sin, across * cos - along * sin], dim=1).to(dtype)


def pinwheel_labels(num_arms: int = 4, points_per_arm: int = 100) -> Int[Tensor, " points"]:
    """The arm that each point of :func:`pinwheel` belongs to.

    Args:
        num_arms: Number of arms.
        points_per_arm: Points on each arm.

    Returns:
        Arm numbers from 0, int64.

    Raises:
        DataError: There is no arm, or no point.

    >>> pinwheel_labels(3, 2)
    tensor([0, 0, 1, 1, 2, 2])
    """
    with arguments.raised_as(DataError):
        arguments.whole(num_arms=num_arms, points_per_arm=points_per_arm)
    return torch.arange(num_arms).repeat_interleave(points_per_arm)
