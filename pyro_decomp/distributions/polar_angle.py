r"""The angle between a von Mises-Fisher sample and its location, with its gradient.

.. math:: p(t) \propto \exp(\kappa \cos t) \sin^{d-2} t, \quad 0 \le t \le \pi
"""

import numpy as np
import torch
from torch import Tensor

from pyro_decomp.distributions.bessel import log_bessel

NUM_NODES = 48  # of Gauss's rule
NEGLIGIBLE = 40.0  # nats below the density at the sample
HALVINGS = 24


def polar_angle(concentration: Tensor, dim: int) -> Tensor:
    r"""Draw an angle for each concentration, with its gradient.

    Drawn by Wood's rejection sampler ("Simulation of the von Mises-Fisher distribution", 1994,
    https://doi.org/10.1080/03610919408813161), of which at least two in three proposals are kept.
    The gradient is implicit (Figurnov et al., "Implicit reparameterization gradients", 2018,
    https://arxiv.org/abs/1805.08498),

    .. math:: \frac{dt}{d\kappa} = -\frac{1}{p(t)} \int_0^t (\cos s - E[\cos s]) \, p(s) \, ds,

    with the integral by Gauss's rule to about 1e-10 of its value in float64. Gradients of
    gradients are not known.

    Args:
        concentration: kappa, not negative, of any shape.
        dim: d, at least 2.

    >>> angles = polar_angle(torch.full((10_000,), 50.0), 3)
    >>> bool((angles < 1).all())
    True
    """
    with torch.no_grad():
        angle = _draw(concentration.detach(), dim)
    if torch.is_grad_enabled() and concentration.requires_grad:
        slope = _slope(angle, concentration.detach(), dim)
        angle = angle + slope * (concentration - concentration.detach())
    return angle


def _draw(concentration: Tensor, dim: int) -> Tensor:
    n = dim - 1
    b = n / (2 * concentration + torch.sqrt(4 * concentration.square() + n**2))
    half = torch.full_like(b, n / 2)
    proposal = torch.distributions.Beta(half, half, validate_args=False)
    gap = torch.empty_like(b)  # 1 - cos t, which keeps its digits near 0
    waiting = torch.ones_like(b, dtype=torch.bool)
    peak = 2 * b / (1 + b)  # 1 - cos t where the ratio of density and envelope is largest
    while waiting.any():
        e = proposal.sample()
        candidate = 2 * b * e / (1 - (1 - b) * e)
        log_ratio = concentration * (peak - candidate) + n * (
            torch.log(peak + (1 - peak) * candidate) - torch.log(peak * (2 - peak))
        )
        accepted = waiting & (torch.rand_like(b).log() <= log_ratio)
        gap = torch.where(accepted, candidate, gap)
        waiting = waiting & ~accepted
    return 2 * torch.asin(torch.sqrt(gap / 2).clamp(max=1))


def _slope(angle: Tensor, concentration: Tensor, dim: int) -> Tensor:
    """The slope dt/dkappa, by the integral over the side of t on which the mean cosine is not."""
    length = concentration * log_bessel(dim / 2 - 1, concentration)[1]
    inwards = angle.cos() > length  # the part from 0 to t has one sign, and is integrated
    room = torch.where(inwards, angle, torch.pi - angle)
    direction = 1 - 2 * inwards.to(angle)

    def log_ratio(step: Tensor) -> Tensor:
        """Of the density at t +- step and at t."""
        there = angle + direction * step
        # cos(there) - cos(angle), without cancellation
        difference = -2 * torch.sin((there + angle) / 2) * torch.sin(direction * step / 2)
        sines = torch.log(there.sin().clamp(min=0)) - torch.log(angle.sin())
        return concentration * difference + ((dim - 2) * sines if dim > 2 else 0.0)

    halves = _column(0.5 ** np.arange(1, HALVINGS + 1), angle)
    # to where the rest of the integral is negligible
    reach = room * 0.5 ** (log_ratio(room * halves) < -NEGLIGIBLE).sum(0).to(room)
    nodes, weights = np.polynomial.legendre.leggauss(NUM_NODES)
    step = reach * _column((nodes + 1) / 2, angle)
    values = ((angle + direction * step).cos() - length) * log_ratio(step).exp()
    return direction * reach * (_column(weights / 2, angle) * values).sum(0)


def _column(values: np.ndarray, like: Tensor) -> Tensor:
    """Values along a new first dimension."""
    return torch.as_tensor(values).to(like).reshape(-1, *[1] * like.dim())
