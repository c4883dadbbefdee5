"""The uniform distribution on a sphere."""

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import constraints
from pyro.distributions.util import broadcast_shape
from torch import Tensor
from torch.nn.functional import normalize

from pyro_decomp import arguments
from pyro_decomp.distributions.checked import CheckedDistribution


class UniformSphere(CheckedDistribution):
    r"""Every direction alike: uniform on the unit sphere :math:`S^{d-1}` in :math:`R^d`.

    .. math:: p(z) = 1 / A_d, \quad A_d = 2 \pi^{d/2} / \Gamma(d/2)

    as a density with respect to the sphere's own area.

    Args:
        dim: d, the length of z, at least 2.
        like: A tensor with the dtype and device of samples; by default torch's.

    Raises:
        ArgumentError: ``dim`` is less than 2.

    Reference:
        Davidson et al., Hyperspherical variational auto-encoders, 2018,
        https://arxiv.org/abs/1804.00891.

    Example:
        >>> UniformSphere(3).entropy()  # log(4 pi)
        tensor(2.5310)
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.sphere
    has_rsample = True  # it has no parameters

    def __init__(
        self, dim: int, *, like: Tensor | None = None, validate_args: bool | None = None
    ) -> None:
        arguments.whole(2, dim=dim)
        arguments.instance(Tensor, "a tensor or None", **arguments.given(like=like))
        self._like = torch.empty(()) if like is None else like
        super().__init__(torch.Size(), torch.Size([dim]), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "UniformSphere":
        """Give the distribution more batch dimensions."""
        new = self._get_checked_instance(UniformSphere, _instance)
        new._like = self._like
        super(UniformSphere, new).__init__(
            torch.Size(batch_shape), self.event_shape, validate_args=False
        )
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """The mean, which is the centre of the sphere."""
        return self._like.new_zeros(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """The variance 1 / d of every dimension."""
        return torch.full_like(self.mean, 1 / self.event_shape[0])

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density in nats, of the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        shape = broadcast_shape(value.shape[:-1], self.batch_shape)
        return value.new_full(shape, -log_area(self.event_shape[0]))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw directions of standard Normal vectors."""
        shape = self._extended_shape(torch.Size(sample_shape))
        return normalize(
            torch.randn(shape, dtype=self._like.dtype, device=self._like.device), dim=-1
        )

    def entropy(self) -> Tensor:
        """The entropy log A_d, in nats."""
        return self._like.new_full(self.batch_shape, log_area(self.event_shape[0]))


def log_area(dim: int) -> float:
    r"""The logarithm of :math:`A_d`, the area of the unit sphere in :math:`R^d`.

    >>> round(math.exp(log_area(3)) / math.pi, 10)
    4.0
    """
    return math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)
