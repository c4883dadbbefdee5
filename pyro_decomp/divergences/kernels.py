"""Kernels of the maximum mean discrepancy: functions of the squared distance between codes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described
from pyro_decomp.divergences.pairs import BLOCK, Radial, squared_distances


class Kernel(Described, ABC):
    """k(x, y) = f(r^2) of the distance r between two codes, with constants that suit the codes.

    A kernel of your own needs no subclass: any elementwise function of a tensor of squared
    distances is one, such as ``lambda r2: torch.exp(-r2.sqrt())``. Its gradient is taken by
    autograd, and parameters inside it are taken as fixed.
    """

    @abstractmethod
    def fitted(self, x: Float[Tensor, "*k b d"], y: Float[Tensor, "*k s d"]) -> Radial:
        """The kernel for codes of this length and scale, one for each of the leading dimensions."""


@dataclass(frozen=True, repr=False)
class InverseMultiquadratic(Kernel):
    r"""Inverse multiquadratic kernels, summed over scales.

    .. math:: k(x, y) = \sum_s C_s / (C_s + |x - y|^2),  C_s = 2 d s

    with d the length of x: 2 d is the expected squared distance between two draws of the standard
    Normal. Heavier tails than an RBF's, so that codes far from the prior still feel it. Tolstikhin
    et al. 2018, section 4 (https://arxiv.org/abs/1711.01558), has one such kernel; the scales are
    those of its public code, as Mathieu et al. 2019 use them.

    Args:
        scales: s, each positive; in units of the prior's variance.

    Raises:
        ArgumentError: There are no scales, or one is not positive.

    Example:
        >>> InverseMultiquadratic(scales=(0.5, 1.0))
        InverseMultiquadratic(scales=(0.5, 1.0))
    """

    scales: Sequence[int | float] = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

    def __post_init__(self) -> None:
        arguments.numbers("(0, inf)", scales=self.scales)

    def fitted(self, x: Float[Tensor, "*k b d"], y: Float[Tensor, "*k s d"]) -> Radial:
        """The kernel with C_s = 2 d s for the length d of these codes."""
        constants = [2 * x.shape[-1] * scale for scale in self.scales]

        def value_and_slope(squared: Tensor) -> tuple[Tensor, Tensor]:
            value, slope = torch.zeros_like(squared), torch.zeros_like(squared)
            for c in constants:
                inverse = (squared + c).reciprocal_()
                value.add_(inverse, alpha=c)
                slope.sub_(inverse.mul_(inverse), alpha=c)
            return value, slope

        return Radial(value_and_slope, length=min(constants) ** 0.5)


@dataclass(frozen=True, repr=False)
class RBF(Kernel):
    r"""The Gaussian kernel k(x, y) = exp(-r^2 / (2 h^2)), r the distance of x and y.

    Without a bandwidth, h is the median distance between the points of both samples together
    (Gretton et al., "A Kernel Two-Sample Test", 2012, section 8,
    https://jmlr.org/papers/v13/gretton12a.html), taken anew at every call, without a gradient, and
    dimension by dimension where the MMD is. Of large samples only the first rows count: as many as
    make about a million pairs.

    Args:
        bandwidth: h, in the unit of the codes; None for the median distance.

    Raises:
        ArgumentError: The bandwidth is not positive.
    """

    bandwidth: int | float | None = None

    def __post_init__(self) -> None:
        arguments.number("(0, inf)", **arguments.given(bandwidth=self.bandwidth))

    def fitted(self, x: Float[Tensor, "*k b d"], y: Float[Tensor, "*k s d"]) -> Radial:
        """The kernel with its bandwidth, or with the median distance in these codes as that."""
        given = self.bandwidth
        bandwidth = median_distance(x, y) if given is None else x.new_tensor(given)
        rate = -0.5 / bandwidth.square()

        def value_and_slope(squared: Tensor) -> tuple[Tensor, Tensor]:
            floor = -60.0 if squared.dtype == torch.float32 else -600.0  # denormals are slow
            value = (squared * rate.to(squared.dtype)).clamp_min_(floor).exp_()
            return value, value * rate.to(squared.dtype)

        return Radial(value_and_slope, length=2 * bandwidth)


AnyKernel = Kernel | Callable[[Tensor], Tensor]


def check_kernel(kernel: AnyKernel) -> None:
    """Check that this is a kernel, or a function that may be one.

    Raises:
        ArgumentError: It is neither.
    """
    is_function = callable(kernel) and not isinstance(kernel, type)
    if not is_function and not isinstance(kernel, Kernel):
        expected = "a kernel such as RBF() or a function of squared distances"
        arguments.refuse("kernel", expected, kernel)


def fitted(
    kernel: AnyKernel,
    x: Float[Tensor, "*k b d"],
    y: Float[Tensor, "*k s d"],
) -> Radial:
    """The function of squared distances that a kernel, of ours or of the user's, is for x and y."""
    check_kernel(kernel)
    if isinstance(kernel, Kernel):
        return kernel.fitted(x.detach(), y.detach())

    def value_and_slope(squared: Tensor) -> tuple[Tensor, Tensor]:
        try:
            leaf = squared.detach().requires_grad_()
        except RuntimeError:  # inside vmap; elsewhere torch.func would cost seconds of imports
            value, pull_back, *_ = torch.func.vjp(kernel, squared)
            return value, pull_back(torch.ones_like(value))[0]
        with torch.enable_grad():
            value = kernel(leaf)
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), slope

    return Radial(value_and_slope)


def median_distance(
    x: Float[Tensor, "*k b d"], y: Float[Tensor, "*k s d"]
) -> Float[Tensor, "*k 1 1"]:
    """Median distance between two points of x and y together, in their first rows if many.

    Returns:
        The median of each leading dimension, positive.
    """
    rows = max(2, isqrt(4 * BLOCK // x[..., 0, 0].numel()) // 2)
    points = torch.cat([x[..., :rows, :], y[..., :rows, :]], -2)
    first, second = torch.triu_indices(points.shape[-2], points.shape[-2], 1, device=x.device)
    squared = squared_distances(points, points)[..., first, second]
    smallest = torch.finfo(x.dtype).tiny ** 0.5
    return squared.median(-1).values.sqrt().clamp_min(smallest)[..., None, None]
