"""U-statistics, means over pairs of two samples, in memory that does not grow (internal).

Pairs are formed a block at a time. Value and gradient come from the same pass, so nothing of a
block is kept and none is formed twice.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError

BLOCK = 2**17  # pairs held at once

Weights = tuple[Tensor | None, Tensor | None]
"""How much each point of two samples counts; None where all of one count the same."""


@dataclass(frozen=True)
class Radial:
    """A function f(r^2) of squared distances, and what is to be known of it.

    Attributes:
        value_and_slope: Takes squared distances; gives f and its derivative by r^2.
        length: A distance within which f is smooth: as a function of r it continues analytically
            to imaginary parts below this. One number, or one for each leading dimension; None if
            unknown.
    """

    value_and_slope: Callable[[Tensor], tuple[Tensor, Tensor]]
    length: float | Tensor | None = None


def _minus_distance(squared: Tensor) -> tuple[Tensor, Tensor]:
    """-r and its derivative by r^2; none where points coincide, as the norm has none there."""
    distance = squared.sqrt()
    slope = (-0.5 / distance).masked_fill_(squared <= torch.finfo(squared.dtype).tiny, 0.0)
    return -distance, slope


MINUS_DISTANCE = Radial(_minus_distance)
"""The function -r, of which :func:`u_statistic` is the energy distance."""


def u_statistic(
    x: Float[Tensor, "*k b d"],
    y: Float[Tensor, "*k s d"],
    radial: Radial,
    weights: Weights = (None, None),
    *,
    is_paired: bool = False,
) -> Float[Tensor, ""]:
    r"""Mean of f over pairs within x and within y, less twice the mean over pairs across.

    .. math::
        \frac{1}{B(B-1)} \sum_{i \ne j} f(|x_i - x_j|^2)
        + \frac{1}{S(S-1)} \sum_{i \ne j} f(|y_i - y_j|^2)
        - \frac{2}{BS} \sum_{i,j} f(|x_i - y_j|^2)

    Each unordered pair is formed once. It is summed over leading dimensions, and differentiable
    once. Of points with weights a pair counts the product of its two, and the means are weighted.

    Args:
        x: B points, or as many for each of the leading dimensions.
        y: S points.
        radial: f.
        weights: How much each of them counts.
        is_paired: Whether x_i and y_i belong together, B = S of them: the sum across then leaves
            out i = j, too, and has the factor 2/(B(B-1)).
    """
    wants = (wanted(x), wanted(y))
    value: Tensor = _UStatistic.apply(x, y, radial, wants, is_paired, *weights)[0]
    return value


def check(x: Tensor, y: Tensor, weights: Weights, *, is_paired: bool) -> None:
    """Check that two samples have what :func:`u_statistic` needs.

    Raises:
        ArgumentError: A sample has fewer than two rows, or the rows differ in length, or pairs lack
            one of their rows.
    """
    arguments.instance(Tensor, "a tensor [n, d]", x=x, y=y)
    arguments.instance(tuple, "a pair of weights, such as (None, None)", weights=weights)
    arguments.flag(is_paired=is_paired)
    for name, sample in (("x", x), ("y", y)):
        if sample.dim() != 2 or not sample.is_floating_point():
            got = sample if sample.dim() != 2 else sample.dtype
            arguments.refuse(name, "a tensor [n, d] with a floating point", got)
        if len(sample) < 2:
            raise ArgumentError(f"{name}: expected at least 2 rows, got {len(sample)}")
    if x.shape[1] != y.shape[1]:
        raise ArgumentError(
            f"x and y: expected rows of one length, got {x.shape[1]} and {y.shape[1]}"
        )
    if is_paired and len(x) != len(y):
        raise ArgumentError(
            f"is_paired: expected as many rows in y as in x, got {len(y)}, {len(x)}"
        )


def value_and_gradients(
    x: Float[Tensor, "*k b d"],
    y: Float[Tensor, "*k s d"],
    radial: Radial,
    wants: tuple[bool, bool],
    is_paired: bool = False,
    *weights: Float[Tensor, " _"] | None,
) -> tuple[Float[Tensor, ""], Float[Tensor, "*k b d"] | None, Float[Tensor, "*k s d"] | None]:
    """Compute :func:`u_statistic` and its gradients by x and y, where these are wanted."""
    shift = y.mean(-2, keepdim=True)  # distances between large numbers are inexact
    x, y = x - shift, y - shift
    grad_x, grad_y = (
        torch.zeros_like(z) if want else None for z, want in zip((x, y), wants, strict=True)
    )
    a, b = weights or (None, None)
    across = _sum(x, a) * _sum(y, b)
    if is_paired:
        across = across - _own(x, a, b).sum()
    value = (
        _weighted_sum(x, x, radial, 2 / _pairs(x, a), (grad_x, grad_x), (a, a), within=True)
        + _weighted_sum(y, y, radial, 2 / _pairs(y, b), (grad_y, grad_y), (b, b), within=True)
        + _weighted_sum(x, y, radial, -2 / across, (grad_x, grad_y), (a, b))
    )
    if is_paired:
        value = value + own_pairs(x, y, radial, 2 * _own(x, a, b) / across, (grad_x, grad_y))
    return value.to(x.dtype), grad_x, grad_y


def _own(x: Tensor, a: Tensor | None, b: Tensor | None) -> Float[Tensor, "b 1"]:
    """How much the pair of x_i and y_i counts."""
    one = x.new_ones(x.shape[-2])
    return ((one if a is None else a) * (one if b is None else b))[:, None]


def own_pairs(
    x: Float[Tensor, "*k b d"],
    y: Float[Tensor, "*k b d"],
    radial: Radial,
    weights: Float[Tensor, "b 1"],
    grads: tuple[Tensor | None, Tensor | None],
) -> Float[Tensor, ""]:
    r"""The sum of w_i f(|x_i - y_i|^2); adds to the gradients where these are given."""
    apart = x - y
    squared = apart.square().sum(-1, keepdim=True)
    value, slope = radial.value_and_slope(squared)
    for grad, sign in zip(grads, (1, -1), strict=True):
        if grad is not None:
            grad.add_((weights * slope * apart).to(grad), alpha=2 * sign)
    return (weights * value).sum(dtype=sum_dtype(x))


def squared_distances(
    x: Float[Tensor, "*k b d"], y: Float[Tensor, "*k s d"]
) -> Float[Tensor, "*k b s"]:
    """|x_i - y_j|^2 of all pairs, a new tensor."""
    if x.shape[-1] == 1:
        return (x - y.mT).square()
    squares = x.square().sum(-1)[..., :, None] + y.square().sum(-1)[..., None, :]
    with torch.autocast(x.device.type, enabled=False):
        return squares.sub_(x @ y.mT, alpha=2).clamp_min_(0)


class OnePass(torch.autograd.Function):
    """A scalar whose gradients by x and y, where these are wanted, are formed along with it."""

    generate_vmap_rule = True

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
        """Keep the gradients for the way back."""
        ctx.save_for_backward(*output[1:])
        ctx.mark_non_differentiable(*(grad for grad in output[1:] if grad is not None))
        ctx.num_others = len(inputs) - 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """Scale the gradients that were kept."""
        scaled = [None if kept is None else grad * kept for kept in ctx.saved_tensors]
        return (*scaled, *(None,) * ctx.num_others)


class _UStatistic(OnePass):
    forward = staticmethod(value_and_gradients)


def _sum(z: Tensor, weights: Tensor | None) -> int | float | Tensor:
    """How much all points count."""
    return z.shape[-2] if weights is None else weights.sum()


def _pairs(z: Tensor, weights: Tensor | None) -> int | float | Tensor:
    """How much all ordered pairs of two points count."""
    n = z.shape[-2]
    return n * (n - 1) if weights is None else weights.sum().square() - weights.square().sum()


def _weighted_sum(  # noqa: PLR0917
    x: Tensor,
    y: Tensor,
    radial: Radial,
    weight: float | Tensor,
    grads: tuple[Tensor | None, Tensor | None],
    weights: Weights,
    *,
    within: bool = False,
) -> Tensor:
    r"""The sum of weight f(|x_i - y_j|^2) over pairs, those with i < j if within one sample.

    Adds to the gradients where these are given. With f' the slope, that by x_i is
    2 weight \sum_j f'_ij (x_i - y_j), and the same for y_j.
    """
    total = torch.zeros((), dtype=sum_dtype(x), device=x.device)
    grad_x, grad_y = grads
    start = 0
    while start < x.shape[-2]:
        first = start if within else 0
        others = x[..., 0, 0].numel() * (y.shape[-2] - first)
        rows = slice(start, start + max(1, BLOCK // others))
        start = rows.stop
        x_, y_ = x[..., rows, :], y[..., first:, :]
        value, slope = radial.value_and_slope(squared_distances(x_, y_))
        if weights[0] is not None:
            value, slope = (v * weights[0][rows, None] for v in (value, slope))
        if weights[1] is not None:
            value, slope = (v * weights[1][first:] for v in (value, slope))
        if within:
            value, slope = value.triu(1), slope.triu(1)
        total = total + value.sum()
        with torch.autocast(x.device.type, enabled=False):
            if grad_x is not None:
                push = slope.sum(-1, keepdim=True) * x_ - slope @ y_
                grad_x[..., rows, :].add_(push * (2 * weight))
            if grad_y is not None:
                push = slope.sum(-2)[..., None] * y_ - slope.mT @ x_
                grad_y[..., first:, :].add_(push * (2 * weight))
    return weight * total


def wanted(z: Tensor) -> bool:
    """Whether gradients by z will be asked for."""
    return z.requires_grad and torch.is_grad_enabled()


def sum_dtype(x: Tensor) -> torch.dtype:
    """The type in which sums are taken: double precision, where the device has it."""
    return x.dtype if x.device.type == "mps" else torch.float64
