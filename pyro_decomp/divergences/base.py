"""What a divergence between the aggregate posterior and the prior is given, and gives."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from torch import Tensor

from pyro_decomp.traces import TracePair


class Divergence(ABC):
    """D(q(z), p(z)): a scalar from the batch's encodings and the prior program.

    Divergences add, and take weights: ``InclusiveKL() + 10 * MMD()`` is a divergence.
    """

    @abstractmethod
    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate the divergence, a scalar with gradients.

        Args:
            traces: One guide trace and the model trace. Take from it what is needed: samples
                (``codes()``, ``prior_codes()``), densities (``aggregate_posterior``, ``prior``),
                or the encodings' distributions.
        """

    def __add__(self, other: "Divergence") -> "WeightedSum":
        return WeightedSum([*_parts(self), *_parts(other)])

    def __rmul__(self, weight: float) -> "WeightedSum":
        return WeightedSum([(weight * w, part) for w, part in _parts(self)])


class WeightedSum(Divergence):
    r"""\sum_k w_k D_k(q(z), p(z)), in the sum of their units.

    Args:
        parts: Weight and divergence, each.
    """

    def __init__(self, parts: Sequence[tuple[float, Divergence]]) -> None:
        self.parts = list(parts)

    def __call__(self, traces: TracePair) -> Tensor:
        """Estimate the weighted sum."""
        return sum(
            (w * part(traces) for w, part in self.parts[1:]),
            self.parts[0][0] * self.parts[0][1](traces),
        )


def _parts(divergence: Divergence) -> Iterator[tuple[float, Divergence]]:
    if isinstance(divergence, WeightedSum):
        yield from divergence.parts
    else:
        yield 1.0, divergence
