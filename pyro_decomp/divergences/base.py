"""What a divergence between the aggregate posterior and the prior is given, and gives."""

from abc import ABC, abstractmethod

from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior
from pyro_decomp.prior_program import PriorProgram


class Divergence(ABC):
    """D(q(z), p(z)): a scalar from the batch's aggregate posterior and the prior program."""

    @abstractmethod
    def __call__(self, qz: AggregatePosterior, prior: PriorProgram) -> Tensor:
        """Estimate the divergence.

        Args:
            qz: q(z) over the batch, to be scored.
            prior: p(z), to be drawn from and scored.
        """
