"""The generalised Normal: Laplace, Normal and, in the limit, Uniform in one family."""

from typing import Any, ClassVar

import torch
from pyro.distributions import constraints
from torch import Tensor
from torch.distributions.utils import broadcast_all

from pyro_decomp import arguments
from pyro_decomp.distributions.checked import CheckedDistribution, broadcast_together


class GeneralizedNormal(CheckedDistribution):
    r"""The generalised Normal (exponential power, Subbotin) distribution.

    .. math:: p(z) = \frac{r}{2 a \Gamma(1/r)} \exp(-|(z - m) / a|^r)

    r = 1 is Laplace(m, a), r = 2 is Normal(m, a / sqrt 2), r -> oo is Uniform(m - a, m + a).
    Subbotin, "On the law of frequency of error", 1923. All that annealing does to it is to rescale
    it, so beta-VAE with such a prior changes nothing but the overlap of the encodings (Mathieu et
    al. 2019, section 4).

    Samples are reparametrised in all three parameters.

    Args:
        loc: m.
        scale: a, positive.
        power: r, positive; the smaller, the heavier the tails and the sharper the peak.

    Example:
        >>> GeneralizedNormal(0.0, 2.0, 1.0).log_prob(torch.tensor(1.0))
        tensor(-1.8863)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "power": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    def __init__(
        self,
        loc: float | Tensor,
        scale: float | Tensor,
        power: float | Tensor,
        *,
        validate_args: bool | None = None,
    ) -> None:
        for name, value in (("loc", loc), ("scale", scale), ("power", power)):
            if not isinstance(value, Tensor):
                arguments.number("(-inf, inf)", **{name: value})
        with broadcast_together(loc=loc, scale=scale, power=power):
            self.loc, self.scale, self.power = broadcast_all(
                *(v if isinstance(v, Tensor) else arguments.plain(v) for v in (loc, scale, power))
            )
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "GeneralizedNormal":
        """Give the distribution more batch dimensions."""
        new = self._get_checked_instance(GeneralizedNormal, _instance)
        for name in self.arg_constraints:
            setattr(new, name, getattr(self, name).expand(batch_shape))
        super(GeneralizedNormal, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """The location m."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The location m."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The variance a^2 Gamma(3/r) / Gamma(1/r)."""
        return self.scale.square() * ((3 / self.power).lgamma() - (1 / self.power).lgamma()).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density in nats, of the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        distance = ((value - self.loc) / self.scale).abs()
        return -power(distance, self.power) - self._log_volume()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw samples with gradients: abs(z - m) / a is the r-th root of a Gamma(1/r) variable."""
        shape = self._extended_shape(torch.Size(sample_shape))
        concentration = (1 / self.power).expand(shape)
        radius = torch._standard_gamma(concentration) ** concentration
        sign = 2 * torch.randint(2, shape, device=radius.device).to(radius) - 1
        return self.loc + self.scale * sign * radius

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of z <= value, without a gradient with respect to r."""
        distance = (value - self.loc) / self.scale
        half = torch.special.gammainc(1 / self.power, distance.abs() ** self.power) / 2
        return 0.5 + distance.sign() * half

    def entropy(self) -> Tensor:
        """The entropy 1 / r + log(2 a Gamma(1/r) / r), in nats."""
        return 1 / self.power + self._log_volume()

    def _log_volume(self) -> Tensor:
        return (2 * self.scale / self.power).log() + (1 / self.power).lgamma()


def power(base: Tensor, exponent: Tensor) -> Tensor:
    r"""Compute base^exponent for base >= 0, exponent > 0, with gradient 0 where the base is 0.

    Of |v|^r at v = 0 that is the derivative for r > 1, and for r <= 1, where there is a kink or a
    cusp, the mean of the slopes on its two sides.

    Returns:
        The powers.

    >>> import torch
    >>> x = torch.zeros((), requires_grad=True)
    >>> torch.autograd.grad(power(x, torch.tensor(0.5)), x)
    (tensor(0.),)
    """
    is_zero = base == 0
    return (base.masked_fill(is_zero, 1.0) ** exponent).masked_fill(is_zero, 0.0)
