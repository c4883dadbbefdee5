"""The aggregate posterior of a guide whose latent sites depend on one another."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.aggregate_posterior.estimators import PairWeights
from pyro_decomp.aggregate_posterior.mixture import AggregatePosterior, LogDensities, mass, shares
from pyro_decomp.aggregate_posterior.pairs import in_blocks
from pyro_decomp.distributions.densities import log_sum_exp
from pyro_decomp.errors import ModelError

BLOCK = 2**20  # pairs times dimensions that the guide is run for at once


class StructuredPosterior:
    r"""q(z) = \sum_j w_j q(z|x_j) where q(z|x) is not a product over the latent sites.

    With q(z|x) = q(z_1|x) q(z_2|z_1, x), a datum's density at another's sample needs the encoder of
    z_2 at this datum and that z_1. The guide is run for all pairs at once, through
    ``torch.func.vmap`` over samples: what depends on x alone is computed once, what depends on z
    too once a pair.

    Args:
        density: Log q(z|x_j) for every datum, ``[M]``, of one value of every site, in the order of
            ``axes`` and without the data's dimension.
        axes: Latent site to the data's (negative) dimension in its values.
        size: M, the number of data.
        counts: How much each of them counts, as for :class:`AggregatePosterior`.
        program: What the density is of, as errors are to name it: "guide" or "prior".
    """

    def __init__(
        self,
        density: Callable[..., Tensor],
        axes: Mapping[str, int],
        size: int,
        counts: Float[Tensor, " m"] | None = None,
        program: str = "guide",
    ) -> None:
        self.counts = counts
        self._density = density
        self._axes = dict(axes)
        self._size = size
        self._program = program

    def __len__(self) -> int:
        """The number M of mixture components, one a datum."""
        return self._size

    @property
    def mass(self) -> float:
        """How much all encodings count together: M where all count the same."""
        return mass(len(self), self.counts)

    def log_prob(
        self, z: Mapping[str, Tensor], weights: PairWeights | None = None
    ) -> Float[Tensor, " s"]:
        """Log q(z_s) for S samples, in nats; see :meth:`AggregatePosterior.log_prob`.

        Returns:
            The log densities, ``[S]``.

        Raises:
            ModelError: The guide cannot be run for pairs of samples and data.
        """
        weights = weights or shares(len(self), self.counts)
        axes = self._axes
        values = [z[name] for name in axes]
        total = values[0].shape[next(iter(axes.values()))]
        weights.require_own(total, len(self))

        def score(first: int, *block: Tensor) -> Tensor:
            pairs = self._pairs(block).clone()  # its gradient may need it as it was
            return log_sum_exp(weights.add_(pairs, first)) + weights.other

        elements = sum(value.numel() // total for value in values) * len(self)
        return in_blocks(score, values, list(axes.values()), max(1, BLOCK // elements))

    def log_densities(
        self, z: Mapping[str, Tensor], weights: PairWeights | None = None
    ) -> LogDensities:
        """Refuse marginals, which are not known of sites that depend on one another.

        Raises:
            ModelError: Always.
        """
        named = ", ".join(map(repr, self._axes))
        raise ModelError(
            f"the guide's sites {named} depend on one another, so that the marginals of q(z) are "
            "not known: use AggregateELBO with InclusiveKL() or ExclusiveKL(), FactorELBO for the "
            "total correlation by a discriminator, or a guide whose sites are independent given "
            "the datum"
        )

    def _pairs(self, block: tuple[Tensor, ...]) -> Float[Tensor, "s m"]:
        try:
            return torch.func.vmap(self._density, tuple(self._axes.values()))(*block)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            hint = ""
            if "random" in reason:
                hint = ": expected one that draws its latent sites alone, without dropout"
            elif "running" in str(error):
                hint = ": expected LayerNorm in the place of BatchNorm after a latent site"
            raise ModelError(
                f"the {self._program}'s latent sites depend on one another, and it cannot be run "
                f"for pairs of samples and data through torch.func.vmap{hint} ({reason})"
            ) from error


def log_prob_over(
    parts: Sequence[AggregatePosterior | StructuredPosterior], z: Mapping[str, Tensor]
) -> Tensor:
    """Log q(z_s), ``[S]``, of the mixture over the data of several batches, in nats.

    Returns:
        The log densities, ``[S]``.
    """
    counted = [(part, mass) for part in parts if (mass := part.mass)]
    log_probs = [part.log_prob(z) + math.log(mass) for part, mass in counted]
    return torch.stack(log_probs).logsumexp(0) - math.log(sum(mass for _, mass in counted))
