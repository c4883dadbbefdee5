r"""U-statistics of smooth functions of the distance on a line, without forming pairs (internal).

Every point is spread over the nodes of a regular grid near it, with the weights of polynomial
interpolation: f(x - y) = \sum_ab w_a(x) f(node_a - node_b) w_b(y) up to the error of interpolating
f. Sums over pairs become a convolution on the grid, done by Fourier transform: O(B + n log n) for
B points and n nodes, where pairs cost O(B^2).

With 16 nodes a point and 20 nodes a ``length`` of f (see :class:`Radial`) the interpolation is off
by less than 1e-12 of f(0), and its derivative by 1e-11 of f(0)/length: less than rounding in pairs
of 32-bit numbers.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp.divergences.pairs import OnePass, Radial, own_pairs, sum_dtype, wanted

ORDER = 16
NODES_PER_LENGTH = 20
MOST_NODES = 2**20
POINTS = 2**15  # spread at once
PAIRS_PER_NODE = 8  # a node costs about as much as this many pairs


@dataclass(frozen=True)
class Grid:
    """Regular nodes on D lines, ``origin + spacing * k`` for k from 0 to ``size`` - 1.

    Points lie in the first half alone, so that a periodic convolution does not wrap.
    """

    origin: Float[Tensor, "d 1"]
    spacing: Float[Tensor, "#d 1"]
    size: int

    def offsets(self) -> Float[Tensor, "#d nodes"]:
        """Signed distance of every node from node 0, the shorter way round."""
        k = torch.arange(self.size, device=self.origin.device)
        return torch.where(k < self.size // 2, k, k - self.size) * self.spacing

    def spread(self, z: Float[Tensor, "d b"]) -> "Spread":
        """The nodes around each point, and the weights with which they interpolate at it."""
        position = (z - self.origin) / self.spacing
        left = position.floor()
        powers = torch.ones(*z.shape, ORDER, dtype=z.dtype, device=z.device)
        powers[..., 1:] = (position - left - 0.5)[..., None]
        weights = powers.cumprod(-1) @ torch.from_numpy(_coefficients()).to(z)
        around = torch.arange(ORDER, device=z.device) - (ORDER // 2 - 1)
        nodes = left.long()[..., None] + around
        return Spread(nodes.flatten(1), weights, self.size)


@dataclass(frozen=True)
class Spread:
    """Points on D lines as weights on the nodes around them."""

    nodes: Int[Tensor, "d _"]
    weights: Float[Tensor, "d b order"]
    size: int

    def mass(self) -> Float[Tensor, "d nodes"]:
        """The sum of all points' weights on each node."""
        empty = self.weights.new_zeros(len(self.nodes), self.size)
        return empty.scatter_add_(1, self.nodes, self.weights.flatten(1))

    def interpolated(self, field: Float[Tensor, "d nodes"]) -> Float[Tensor, "d b"]:
        """A function given on the nodes, at the points."""
        return (field.gather(1, self.nodes).view_as(self.weights) * self.weights).sum(-1)


class HiddenValuesError(RuntimeError):
    """Raised inside a transform such as vmap or make_fx, where tensors have no values yet."""


def grid_for(x: Float[Tensor, "d b 1"], y: Float[Tensor, "d s 1"], radial: Radial) -> Grid | None:
    """A grid that is fine enough for f and holds all points; None where pairs are to be formed.

    That is where they are cheaper, where f is not known to be smooth, and where a point is not
    finite.

    Raises:
        HiddenValuesError: Where the points lie is not known.
    """
    if radial.length is None:
        return None
    if torch.compiler.is_compiling():
        raise HiddenValuesError
    dtype, device = sum_dtype(x), x.device
    points = torch.cat([x, y], 1)[..., 0].detach().to(dtype)
    low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)
    length = torch.as_tensor(radial.length, dtype=dtype, device=device).reshape(-1, 1)
    spacing = length / NODES_PER_LENGTH
    try:
        steps = float(((high - low) / spacing).amax())
    except RuntimeError as error:
        raise HiddenValuesError from error
    most = min(MOST_NODES, points.shape[1] ** 2 / PAIRS_PER_NODE)
    needed = 2 * (steps + ORDER + 2)
    if not needed <= most:  # true of nan too
        return None
    size = 1 << (int(needed) - 1).bit_length()
    return Grid(low - ORDER // 2 * spacing, spacing, size)


def u_statistic(
    grid: Grid,
    x: Float[Tensor, "d b 1"],
    y: Float[Tensor, "d s 1"],
    radial: Radial,
    *,
    is_paired: bool = False,
) -> Float[Tensor, ""]:
    """Compute :func:`pyro_decomp.divergences.pairs.u_statistic` of D lines, summed over them."""
    wants = (wanted(x), wanted(y))
    value: Tensor = _GridUStatistic.apply(x, y, radial, wants, grid, is_paired)[0]
    return value


def value_and_gradients(  # noqa: PLR0917
    x: Float[Tensor, "d b 1"],
    y: Float[Tensor, "d s 1"],
    radial: Radial,
    wants: tuple[bool, bool],
    grid: Grid,
    is_paired: bool = False,
) -> tuple[Float[Tensor, ""], Float[Tensor, "d b 1"] | None, Float[Tensor, "d s 1"] | None]:
    """Compute :func:`u_statistic` and its gradients by x and y, where these are wanted."""
    b, s, n = x.shape[1], y.shape[1], grid.size
    spreads = [grid.spread(z[..., 0].to(grid.origin.dtype)) for z in (x, y)]
    spectra = [torch.fft.rfft(spread.mass()) for spread in spreads]
    offsets = grid.offsets()
    f, slope = (v[:, 0] for v in radial.value_and_slope(offsets.square()[:, None]))
    self_pairs = f[:, :1].expand(len(x), 1).sum()
    response = torch.fft.rfft(f).real * _both_sides(n, f)
    within_x, within_y, across = (
        ((p.real * q.real + p.imag * q.imag) * response).sum()
        for p, q in zip(spectra + spectra[:1], spectra + spectra[1:], strict=True)
    )
    value = (
        (within_x - b * self_pairs) / (b * (b - 1))
        + (within_y - s * self_pairs) / (s * (s - 1))
        - 2 / (b * (s - is_paired)) * across
    )
    response = torch.fft.rfft(2 * offsets * slope)  # of df/dr

    def gradient(own: int, size: int, other: int) -> Tensor:
        spectrum = spectra[own] / (size - 1) - spectra[1 - own] / (other - is_paired)
        field = torch.fft.irfft(response * spectrum, n=n)
        return spreads[own].interpolated(field).mul_(2 / size)[..., None].to(x.dtype)

    grad_x = gradient(0, b, s) if wants[0] else None
    grad_y = gradient(1, s, b) if wants[1] else None
    if is_paired:
        weights = x.new_full((b, 1), 2 / (b * (b - 1)))
        value = value + own_pairs(x, y, radial, weights, (grad_x, grad_y))
    return value.to(x.dtype), grad_x, grad_y


class _GridUStatistic(OnePass):
    generate_vmap_rule = False
    forward = staticmethod(value_and_gradients)


def _both_sides(size: int, like: Tensor) -> Tensor:
    """Weights that turn sums over the half spectrum into means over the whole (Parseval)."""
    weights = like.new_full((size // 2 + 1,), 2 / size)
    weights[[0, -1]] = 1 / size
    return weights


@cache
def _coefficients() -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    """Coefficients of the nodes' polynomials: in row m and column a that of t^m in node a's.

    The polynomial is 1 at its own node and 0 at the others (Lagrange); t is the distance from the
    middle of the nodes, in steps.
    """
    nodes = np.arange(ORDER) - (ORDER - 1) / 2
    columns = []
    for a in range(ORDER):
        others = np.delete(nodes, a)
        columns.append(np.poly(others)[::-1] / np.prod(nodes[a] - others))
    return np.stack(columns, 1)
