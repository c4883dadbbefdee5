"""The von Mises-Fisher distribution: a bump on a sphere of any dimension."""

import math
from typing import Any, ClassVar

import numpy as np
import torch
from pyro.distributions import constraints
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.distributions.kl import register_kl
from torch.nn.functional import normalize

from pyro_decomp import arguments
from pyro_decomp.distributions.bessel import log_bessel
from pyro_decomp.distributions.checked import CheckedDistribution, broadcast_together
from pyro_decomp.distributions.sphere import UniformSphere, log_area
from pyro_decomp.errors import ArgumentError

NUM_NODES = 48  # nodes of Gauss's rule
NEGLIGIBLE = 40.0  # nats below the density at the sample
HALVINGS = 24  # of the range of integration, until the integrand is not negligible


class VonMisesFisher(CheckedDistribution):
    r"""The von Mises-Fisher distribution on the unit sphere :math:`S^{d-1}` in :math:`R^d`.

    .. math::
        p(z) = C_d(\kappa) \exp(\kappa m^T z), \quad
        C_d(\kappa) = \frac{\kappa^{v}}{(2 \pi)^{d/2} I_{v}(\kappa)}, \quad v = d/2 - 1

    as a density with respect to the sphere's own area; kappa = 0 is uniform. The Bessel function
    is that of :func:`~pyro_decomp.distributions.bessel.log_bessel`, accurate for every d and kappa.

    Samples are exact and reparametrised in both parameters: in kappa implicitly, by the derivative
    of the angle's distribution function (:func:`polar_angle`), so that
    gradients are unbiased, which those of an accepted proposal alone are not.

    Args:
        loc: m, of length 1, ``[..., d]``.
        concentration: kappa, not negative, ``[...]``.

    Reference:
        Davidson et al., Hyperspherical variational auto-encoders, 2018,
        https://arxiv.org/abs/1804.00891.

    Example:
        >>> VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(2.0)).mean
        tensor([0.0000, 0.0000, 0.5373])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.sphere,
        "concentration": constraints.nonnegative,
    }
    support = constraints.sphere
    has_rsample = True

    def __init__(
        self, loc: Tensor, concentration: Tensor, *, validate_args: bool | None = None
    ) -> None:
        arguments.instance(Tensor, "a tensor", loc=loc, concentration=concentration)
        if loc.dim() < 1 or loc.shape[-1] < 2:
            raise ArgumentError(
                f"loc: expected vectors of length 2 or more, got {tuple(loc.shape)}"
            )
        with broadcast_together(loc=loc, concentration=concentration):
            batch_shape = torch.Size(broadcast_shape(loc.shape[:-1], concentration.shape))
        self.loc = loc.expand(batch_shape + loc.shape[-1:])
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "VonMisesFisher":
        """Give the distribution more batch dimensions."""
        new = self._get_checked_instance(VonMisesFisher, _instance)
        batch_shape = torch.Size(batch_shape)
        new.loc = self.loc.expand(batch_shape + self.event_shape)
        new.concentration = self.concentration.expand(batch_shape)
        super(VonMisesFisher, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """The mean A m, inside of the sphere, with A of :attr:`mean_resultant_length`."""
        return self.mean_resultant_length.unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        """The direction m."""
        return self.loc

    @property
    def mean_resultant_length(self) -> Tensor:
        r""":math:`A = E[m^T z] = I_{v+1}(\kappa) / I_v(\kappa)`, from 0 to 1."""
        return self.concentration * self._bessel()[1]

    @property
    def variance(self) -> Tensor:
        r"""The variances: A / kappa across m, 1 - (d - 1) A / kappa - A^2 along it."""
        across = self._bessel()[1].unsqueeze(-1)
        length = self.mean_resultant_length.unsqueeze(-1)
        squares = self.loc.square()
        along = 1 - (self.event_shape[0] - 1) * across - length.square()
        return along * squares + across * (1 - squares)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density in nats, of the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        # kappa (m.z - 1), without the cancellation where z is near m
        fall = self.concentration * (value - self.loc).square().sum(-1) / 2
        return self._log_peak() - fall

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw samples with gradients: an angle from m, and a direction at right angles to it."""
        shape = self._extended_shape(torch.Size(sample_shape))
        angle = polar_angle(self.concentration.expand(shape[:-1]), shape[-1]).unsqueeze(-1)
        loc = self.loc.expand(shape)
        noise = torch.randn(shape, dtype=loc.dtype, device=loc.device)
        across = normalize(noise - (noise * loc).sum(-1, keepdim=True) * loc, dim=-1)
        return normalize(angle.cos() * loc + angle.sin() * across, dim=-1)

    def entropy(self) -> Tensor:
        """The entropy -log C_d(kappa) - kappa A, in nats."""
        return self.concentration * (1 - self.mean_resultant_length) - self._log_peak()

    def _log_peak(self) -> Tensor:
        """The log density at m."""
        return -self.event_shape[0] / 2 * math.log(2 * math.pi) - self._bessel()[0]

    def _bessel(self) -> tuple[Tensor, Tensor]:
        return log_bessel(self.event_shape[0] / 2 - 1, self.concentration)


@register_kl(VonMisesFisher, UniformSphere)
def _kl_uniform(q: VonMisesFisher, p: UniformSphere) -> Tensor:
    return log_area(p.event_shape[0]) - q.entropy()


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl_von_mises_fisher(q: VonMisesFisher, p: VonMisesFisher) -> Tensor:
    expected_fall = p.concentration * (1 - (q.mean * p.loc).sum(-1))
    return expected_fall - p._log_peak() - q.entropy()


def polar_angle(concentration: Tensor, dim: int) -> Tensor:
    r"""The angle between a von Mises-Fisher sample and its location, reparametrised.

    .. math:: p(t) \propto \exp(\kappa \cos t) \sin^{d-2} t, \quad 0 \le t \le \pi

    It is drawn by Wood's rejection sampler ("Simulation of the von Mises Fisher distribution",
    1994, https://doi.org/10.1080/03610919408813161), of which at least two in three proposals are
    kept. The gradient is implicit (Figurnov et al., "Implicit reparameterization gradients", 2018,
    https://arxiv.org/abs/1805.08498),

    .. math:: \frac{dt}{d\kappa} = -\frac{1}{p(t)} \int_0^t (\cos s - E[\cos s]) \, p(s) \, ds,

    with the integral by Gauss's rule to about 1e-10 of its value in float64. Gradients of
    gradients are not known.

    Args:
        concentration: kappa, not negative, of any shape.
        dim: d, at least 2.

    Returns:
        One angle for each entry of ``concentration``, with gradients.

    Example:
        >>> angles = polar_angle(torch.full((10_000,), 50.0), 3)
        >>> bool((angles < 1).all())
        True
    """
    with torch.no_grad():
        angle = _drawn_angle(concentration.detach(), dim)
    if torch.is_grad_enabled() and concentration.requires_grad:
        slope = _angle_slope(angle, concentration.detach(), dim)
        angle = angle + slope * (concentration - concentration.detach())
    return angle


def _drawn_angle(concentration: Tensor, dim: int) -> Tensor:
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


def _angle_slope(angle: Tensor, concentration: Tensor, dim: int) -> Tensor:
    """The slope dt/dkappa, by the integral over the side of t on which the mean cosine is not."""
    length = concentration * log_bessel(dim / 2 - 1, concentration)[1]
    inwards = angle.cos() > length  # the part from 0 to t has one sign, and is integrated
    room = torch.where(inwards, angle, torch.pi - angle)
    direction = 1 - 2 * inwards.to(angle)

    def log_ratio(step: Tensor) -> Tensor:
        """The log ratio of the density at t +- step and at t."""
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
    """Lay values out along a new first dimension."""
    return torch.as_tensor(values).to(like).reshape(-1, *[1] * like.dim())
