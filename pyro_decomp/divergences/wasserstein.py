"""Distances between samples that follow how far mass has to move: Wasserstein and energy."""

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.divergences.base import (
    Divergence,
    of_samples,
    require_equal_weights,
    samples,
)
from pyro_decomp.divergences.pairs import MINUS_DISTANCE, Weights, check, u_statistic
from pyro_decomp.programs.traces import TracePair


def line_wasserstein(
    x: Float[Tensor, "*k b"], y: Float[Tensor, "*k s"], p: int | float = 2
) -> Float[Tensor, "*k"]:
    r"""The p-th power of the p-Wasserstein distance between samples on a line.

    .. math:: W_p^p = \int_0^1 |F_x^{-1}(u) - F_y^{-1}(u)|^p du

    exact for the two samples: the sorted points in turn for samples of one size, and steps of the
    two quantile functions, each where the other stands, for samples of different sizes.

    Args:
        x: Points, B to a line.
        y: Points, S to a line.
        p: Power of the distance, at least 1.

    Returns:
        The distance to the power p of each line, in the unit of x to the power p.
    """
    x, y = x.sort(-1).values, y.sort(-1).values
    b, s = x.shape[-1], y.shape[-1]
    if b == s:
        return (x - y).abs().pow(p).mean(-1)
    ends = torch.cat([torch.arange(1, b + 1) * s, torch.arange(1, s + 1) * b]).sort().values
    lengths = ends.diff(prepend=ends.new_zeros(1)).to(x)  # in steps of 1/(b s)
    ends = ends.to(x.device) - 1
    distances = x[..., ends // s] - y[..., ends // b]
    return distances.abs().pow(p) @ lengths / (b * s)


def sliced_wasserstein(
    x: Float[Tensor, "b d"],
    y: Float[Tensor, "s d"],
    directions: Float[Tensor, "k d"],
    p: int | float = 2,
) -> Float[Tensor, ""]:
    r"""The mean of :func:`line_wasserstein` over projections.

    .. math:: SW_p^p = (1/K) \sum_k W_p^p(\theta_k^T x, \theta_k^T y)

    Args:
        x: Codes, one a row.
        y: Draws of the prior, one a row; as many as you like.
        directions: Unit vectors theta_k, one a row.
        p: Power of the distance, at least 1.

    Returns:
        The mean distance to the power p, a scalar in the unit of x to the power p.
    """
    arguments.instance(Tensor, "a tensor", x=x, y=y, directions=directions)
    if {each.shape[1:] for each in (x, y)} != {directions.shape[1:]} or directions.dim() != 2:
        arguments.refuse(
            "directions", f"rows as long as those of x and y, {x.shape[-1:]}", directions
        )
    arguments.number("[1, inf)", p=p)
    on_x, on_y = directions.to(x) @ x.mT, directions.to(y) @ y.mT
    return line_wasserstein(on_x, on_y, arguments.plain(p)).mean()


def energy_distance(
    x: Float[Tensor, "b d"],
    y: Float[Tensor, "s d"],
    weights: Weights = (None, None),
    *,
    is_paired: bool = False,
) -> Float[Tensor, ""]:
    r"""The energy distance between two samples, by its U-statistic.

    .. math:: 2 E|x - y| - E|x - x'| - E|y - y'|

    with the Euclidean norm; means over distinct pairs. It is :func:`mmd` with the kernel
    -sqrt(r^2). Székely & Rizzo, "Energy Statistics", 2013
    (https://doi.org/10.1016/j.jspi.2013.03.018). Unbiased, and so negative about as often as not
    where the two distributions are equal; in the unit of the codes.

    Args:
        x: Codes, one a row, at least two.
        y: Draws of the prior, likewise; as many as you like.
        weights: How much each row of x and of y counts; None where all count the same.
        is_paired: As for :func:`mmd`.

    Returns:
        The estimate, a scalar in the unit of x.

    Raises:
        ArgumentError: As :func:`mmd`.
    """
    check(x, y, weights, is_paired=is_paired)
    return u_statistic(x, y, MINUS_DISTANCE, weights, is_paired=is_paired)


class SlicedWasserstein(Divergence):
    r"""Sliced Wasserstein distance between q(z) and p(z), to the power p.

    .. math:: SW_p^p = E_\theta W_p^p(\theta^T z, \theta^T y),  z ~ q(z),  y ~ p(z)

    with theta uniform on the sphere, drawn anew at every call from torch's global generator, and
    one-dimensional distances between the batch's own codes and draws of the prior: Kolouri et al.,
    "Sliced-Wasserstein Autoencoders", 2018, eq. 12 (https://arxiv.org/abs/1804.01947). Unbiased
    over directions; biased up by the finite samples, so that it is positive even where q = p, by an
    amount that falls as the batch grows. Where the prior is given something of the datum, every
    datum has as many draws of its own prior, together draws of the mixture. In the unit of z
    to the power p; not nats.

    As a part of weight 0 it is left out: the plain ELBO.

    Args:
        num_projections: K, directions.
        p: Power of the distance, at least 1; 2 gives the squared 2-Wasserstein distance.
        num_samples: S, draws from the prior; None for as many as the batch has data.

    Raises:
        ArgumentError: An argument is out of its range.
    """

    def __init__(
        self, num_projections: int = 50, p: int | float = 2, *, num_samples: int | None = None
    ) -> None:
        given = arguments.given(num_samples=num_samples)
        arguments.whole(num_projections=num_projections, **given)
        arguments.number("[1, inf)", p=p)
        self.num_projections = num_projections
        self.p = arguments.plain(p)
        self.num_samples = num_samples

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate the distance to the power p, in the unit of z to the power p.

        Returns:
            The estimate, a scalar with gradients.

        Raises:
            ModelError: No latent site is inside the data plate; the batch has one datum alone; the
                prior is learned but its sampler passes no gradients.
        """
        require_equal_weights(traces, "SlicedWasserstein")
        codes, drawn = samples(traces, self.num_samples, "SlicedWasserstein")
        directions = torch.randn(self.num_projections, codes.shape[1]).to(codes)
        directions = directions / directions.norm(dim=1, keepdim=True)
        return sliced_wasserstein(codes, drawn, directions, self.p)


class EnergyDistance(Divergence):
    r"""Energy distance between q(z) and p(z), in the unit of z.

    .. math:: 2 E|z - y| - E|z - z'| - E|y - y'|,  z, z' ~ q(z),  y, y' ~ p(z)

    by the U-statistic of :func:`energy_distance`. It has no scale to choose, and is zero only at
    q = p. Unbiased in the same sense as :class:`MMD`, so that it can be negative near equality;
    the pair of a code and a draw of one datum is left out as there. As
    a part of weight 0 it is left out: the plain ELBO.

    Args:
        num_samples: S, draws from the prior, at least 2; None for as many as the batch has data.

    Raises:
        ArgumentError: ``num_samples`` is less than 2.
    """

    def __init__(self, *, num_samples: int | None = None) -> None:
        arguments.whole(2, **arguments.given(num_samples=num_samples))
        self.num_samples = num_samples

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate the distance, in the unit of z.

        Returns:
            The estimate, a scalar with gradients.

        Raises:
            ModelError: No latent site is inside the data plate; the batch has one datum alone; the
                prior is learned but its sampler passes no gradients.
        """
        return of_samples(energy_distance, traces, self.num_samples, "EnergyDistance")
