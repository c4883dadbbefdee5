"""The density of a prior that is given something of the datum, for every datum of a batch."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.programs.modules import buffers_kept
from pyro_decomp.programs.pair_density import PairDensity
from pyro_decomp.programs.prior_program import PriorProgram


class PriorDensity(PairDensity):
    """Log p(z|u_j) for every datum j of a batch, at any one z: the prior run with that z.

    Discrete sites that the model alone has, and labels, are summed over inside each p(z|u_j).

    Args:
        program: The model with its arguments bound.
        prior: The same, as far as its last latent site.
        axes: Latent site of a datum to the data's (negative) dimension in its values.
        size: M, the number of data.
    """

    def __init__(
        self,
        program: Callable[[], Any],
        prior: PriorProgram,
        axes: Mapping[str, int],
        size: int,
    ) -> None:
        super().__init__(program, axes)
        self._prior = prior
        self._size = size

    def __call__(self, *z: Tensor) -> Float[Tensor, " m"]:
        """Log p(z|u_j), ``[M]``, in nats; see :meth:`PairDensity.__call__`."""
        values = {
            name: self._for_all(value, axis)
            for (name, axis), value in zip(self.axes.items(), z, strict=True)
        }
        with pyro.validation_enabled(False), buffers_kept(self._modules):
            return self._prior.log_prob_of_data(values)

    def _for_all(self, value: Tensor, axis: int) -> Tensor:
        value = value.unsqueeze(axis)
        shape = list(value.shape)
        shape[axis] = self._size
        return value.expand(shape) if self.is_copied else value
