"""Annealed mixtures: normalised numerically, drawn by rejection."""

import math
from typing import Any, ClassVar

import torch
from pyro.distributions import MixtureSameFamily, TorchDistribution, constraints
from torch import Tensor, distributions

from pyro_decomp import arguments
from pyro_decomp.distributions.annealing import importance, quadrature
from pyro_decomp.distributions.annealing.registry import (
    Annealed,
    Power,
    annealed_with_normalizer,
    is_one,
    log_normalizer,
    register_annealed,
)
from pyro_decomp.distributions.annealing.unexpand import without_repeats
from pyro_decomp.errors import ArgumentError

RAREST_ACCEPTANCE = 1e-4


class AnnealedMixture(TorchDistribution):
    r"""The annealed density of a mixture, spike-and-slab priors among them.

    .. math:: f_\beta(z) = \frac{1}{F_\beta} \Big( \sum_k w_k p_k(z) \Big)^\beta

    The normaliser is found by quadrature (:func:`.quadrature.log_integral`)
    for mixtures over the real line, which are also the factors of a product over dimensions, and
    by importance sampling (:func:`.importance.log_integral`) for joint
    mixtures; :attr:`normalizer_error` says how well. Batch dimensions that a plate has expanded
    cost nothing more.

    Samples are exact: a draw from the annealed components is kept with probability
    p^beta / (K^max(0, beta - 1) sum_k a_k^beta), a_k = w_k p_k, of which at least one in
    K^\|beta - 1\| is. They carry no gradients. The KL to this density is estimated from samples.

    Args:
        base: The mixture; over the real line with components that have ``loc`` and ``scale``, or
            with components that can be annealed in closed form.
        beta: The power, a positive number or a tensor without dimensions.
        num_samples: Draws from each component where importance sampling is used.
        seed: Of those draws.

    Attributes:
        log_normalizer: log F_beta, in nats, of the batch shape, with gradients.
        normalizer_error: The standard error of ``log_normalizer`` or, for quadrature, a bound on
            its error; in nats.

    Raises:
        ArgumentError: p^beta has an infinite integral, or the components are of a family without
            what is said above.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = False

    def __init__(
        self,
        base: MixtureSameFamily,
        beta: Power,
        *,
        num_samples: int = 1024,
        seed: int = 0,
        validate_args: bool | None = None,
    ) -> None:
        arguments.instance(MixtureSameFamily, "a mixture", base=base)
        if not isinstance(beta, Tensor):
            arguments.number("(0, inf)", beta=beta)
            beta = float(beta)
        arguments.whole(2, num_samples=num_samples)
        arguments.whole(0, seed=seed)
        self.base = base
        self.beta = beta
        few = without_repeats(base)
        if quadrature.has_quadrature(base):
            log_f, error = quadrature.log_integral(few, beta)
        else:
            log_f, error = importance.log_integral(few, beta, num_samples, seed)
        self.log_normalizer = log_f.expand(base.batch_shape)
        self.normalizer_error = error.expand(base.batch_shape)
        super().__init__(base.batch_shape, base.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "AnnealedMixture":
        """Give the distribution more batch dimensions."""
        new = self._get_checked_instance(AnnealedMixture, _instance)
        batch_shape = torch.Size(batch_shape)
        new.base = self.base.expand(batch_shape)
        new.beta = self.beta
        new.log_normalizer = self.log_normalizer.expand(batch_shape)
        new.normalizer_error = self.normalizer_error.expand(batch_shape)
        super(AnnealedMixture, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        """The support, which is that of the mixture."""
        return self.base.support

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density beta log p(z) - log F_beta, of the batch shape, in nats."""
        return self.beta * self.base.log_prob(value) - self.log_normalizer

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw exact samples, without gradients.

        Raises:
            ArgumentError: Fewer than one draw in ten thousand would be kept.
        """
        proposal, log_mass = importance.annealed_components(self.base, self.beta)
        bound = importance.log_bound(self.base, self.beta)
        kept = float((self.log_normalizer - log_mass - bound).exp().min())
        if kept < RAREST_ACCEPTANCE:
            raise ArgumentError(
                f"expected a power of which at least {RAREST_ACCEPTANCE:g} of the draws are kept, "
                f"got beta = {float(self.beta):g} with {self._num_components} components, which "
                f"keeps {kept:.1g}"
            )
        shape = torch.Size(sample_shape)
        value = proposal.sample((math.prod(shape),))
        waiting = ~self._accepted(value, bound)
        while waiting.any():
            rows = waiting.reshape(len(waiting), -1).any(1).nonzero().squeeze(1)
            fresh = proposal.sample((len(rows),))
            taken = waiting[rows] & self._accepted(fresh, bound)
            event = taken.reshape(taken.shape + (1,) * self.event_dim)
            value[rows] = torch.where(event, fresh, value[rows])
            waiting[rows] &= ~taken
        return value.reshape(self._extended_shape(shape))

    def __repr__(self) -> str:
        return f"AnnealedMixture(beta: {float(self.beta):g}, base: {self.base})"

    def _accepted(self, value: Tensor, bound: float) -> Tensor:
        log_probability = importance.log_ratio(self.base, self.beta, value) - bound
        return torch.rand_like(log_probability).log() < log_probability

    @property
    def _num_components(self) -> int:
        return int(self.base.component_distribution.batch_shape[-1])


@register_annealed(distributions.MixtureSameFamily)
def _mixture(p: MixtureSameFamily, beta: Power) -> Annealed:
    if is_one(beta):
        return p, p.mixture_distribution.logits.new_zeros(p.batch_shape)
    f = AnnealedMixture(p, beta)
    return f, f.log_normalizer


@register_annealed(AnnealedMixture)
def _annealed_mixture(p: AnnealedMixture, beta: Power) -> Annealed:
    """Anneal what is annealed: (p^a / F_a)^b is p^(ab) / F_a^b."""
    f, log_f = annealed_with_normalizer(p.base, p.beta * beta)
    return f, log_f - beta * log_normalizer(p.base, p.beta)
