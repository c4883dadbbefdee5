"""Groups of dimensions that are independent of one another, but not within."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pyro.distributions import constraints
from pyro.distributions.util import broadcast_shape
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.distributions.checked import CheckedDistribution, broadcast_together
from pyro_decomp.distributions.generalized_normal import power
from pyro_decomp.errors import ArgumentError


class LpNested(CheckedDistribution):
    r"""An Lp-nested symmetric distribution whose groups are independent of one another.

    .. math::
        p(z) \propto \exp\Big( -\sum_k \big( \| v_k \|_{p_k} / a_k \big)^{r} \Big), \quad
        z = (v_1, \dots, v_K), \quad \| v \|_p = \Big( \sum_i |v_i|^p \Big)^{1/p}

    so a density of the nested norm :math:`(\sum_k (\|v_k\|_{p_k} / a_k)^r)^{1/r}` alone. A group of
    n dimensions has the normaliser

    .. math:: Z_k = \frac{n}{r} \Gamma(n / r) \frac{(2 a_k \Gamma(1 + 1/p_k))^n}{\Gamma(1 + n/p_k)}

    With p = 2 directions within a group are alike; with p = r all dimensions are independent.
    Samples are reparametrised in all parameters: a radius, of which the r-th power is a Gamma
    variable, times a point on the unit sphere of the p-norm. Where a group is exactly zero the
    density has a kink or a cusp for r <= 1; its gradient is taken to be zero there, as it is for
    r > 1.

    Args:
        sizes: n, the length of each group.
        inner: p, positive, ``[..., K]``.
        outer: r, positive, ``[...]``.
        scale: a, positive, ``[..., K]``.

    Raises:
        ArgumentError: There is no group, one is empty, or ``inner`` has another length.

    Reference:
        Stuehmer, Turner & Nowozin, Independent subspace analysis for unsupervised learning of
        disentangled representations, 2020, section 3, https://arxiv.org/abs/1909.05063; Sinz &
        Bethge, Lp-nested symmetric distributions, 2010.

    Example:
        >>> p = LpNested((2, 3), torch.tensor([2.0, 2.0]), torch.tensor(1.0), torch.ones(2))
        >>> p.sample().shape
        torch.Size([5])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "inner": constraints.independent(constraints.positive, 1),
        "outer": constraints.positive,
        "scale": constraints.independent(constraints.positive, 1),
    }
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        sizes: Sequence[int],
        inner: Float[Tensor, "*#batch k"],
        outer: Float[Tensor, "*#batch"],
        scale: Float[Tensor, "*#batch k"],
        *,
        validate_args: bool | None = None,
    ) -> None:
        arguments.wholes(1, sizes=sizes)
        arguments.instance(Tensor, "a tensor", inner=inner, outer=outer, scale=scale)
        self.sizes = tuple(sizes)
        if inner.shape[-1:] != (len(sizes),):
            raise ArgumentError(
                f"inner: expected length {len(sizes)}, got shape {tuple(inner.shape)}"
            )
        with broadcast_together(inner=inner, outer=outer, scale=scale):
            shape = torch.Size(broadcast_shape(inner.shape, scale.shape, (*outer.shape, 1)))
        self.inner, self.scale = inner.expand(shape), scale.expand(shape)
        self.outer = outer.expand(shape[:-1])
        super().__init__(shape[:-1], torch.Size([sum(sizes)]), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "LpNested":
        """Give the distribution more batch dimensions.

        Returns:
            The same distribution of another batch shape.
        """
        new = self._get_checked_instance(LpNested, _instance)
        batch_shape = torch.Size(batch_shape)
        new.sizes = self.sizes
        new.inner = self.inner.expand(*batch_shape, len(self.sizes))
        new.scale = self.scale.expand(*batch_shape, len(self.sizes))
        new.outer = self.outer.expand(batch_shape)
        super(LpNested, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def mean(self) -> Tensor:
        """The mean, which is zero."""
        return torch.zeros_like(self._dimensions(self.scale))

    @property
    def variance(self) -> Tensor:
        """The variances E[radius^2] E[u_i^2], with u on the unit sphere of the p-norm."""
        n, p, r = self._lengths(), self.inner, self.outer.unsqueeze(-1)
        radius = ((n + 2) / r).lgamma() - (n / r).lgamma()
        direction = (3 / p).lgamma() - (1 / p).lgamma() + (n / p).lgamma() - ((n + 2) / p).lgamma()
        return self._dimensions(self.scale.square() * (radius + direction).exp())

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density in nats, of the batch shape."""
        if self._validate_args:
            self._validate_sample(value)
        n, r = self._lengths(), self.outer.unsqueeze(-1)
        log_volume = n * (2 * self.scale).log() + n * (1 + 1 / self.inner).lgamma()
        log_volume = log_volume - (1 + n / self.inner).lgamma()
        log_z = (1 + n / r).lgamma() + log_volume
        return -(power(self._norms(value) / self.scale, r) + log_z).sum(-1)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draw samples with gradients."""
        sample_shape = torch.Size(sample_shape)
        shape = self._extended_shape(sample_shape)
        p = self._dimensions(self.inner).expand(shape)
        sign = 2 * torch.randint(2, shape, device=p.device).to(p) - 1
        point = sign * torch._standard_gamma(1 / p) ** (1 / p)
        n, r = self._lengths(), self.outer.unsqueeze(-1)
        concentration = (n / r).expand(*sample_shape, *self.batch_shape, len(self.sizes))
        radius = self.scale * torch._standard_gamma(concentration) ** (1 / r)
        return point * self._dimensions(radius / self._norms(point))

    def entropy(self) -> Tensor:
        """The entropy sum_k n_k / r + log Z_k, in nats."""
        return sum(self.sizes) / self.outer - self.log_prob(self.mean)

    def _norms(self, value: Tensor) -> Tensor:
        """The norm of each group, ``[..., K]``."""
        powers = power(value.abs(), self._dimensions(self.inner))
        sums = powers.new_zeros(*powers.shape[:-1], len(self.sizes))
        return power(sums.index_add(-1, self._group(), powers), 1 / self.inner)

    def _dimensions(self, groups: Tensor) -> Tensor:
        """Copy what belongs to each group to each of its dimensions."""
        return groups[..., self._group()]

    def _group(self) -> Tensor:
        """The group of each dimension."""
        index = torch.arange(len(self.sizes), device=self.scale.device)
        lengths = torch.tensor(self.sizes, device=index.device)
        return index.repeat_interleave(lengths, output_size=sum(self.sizes))

    def _lengths(self) -> Tensor:
        return torch.tensor(self.sizes, dtype=self.scale.dtype, device=self.scale.device)
