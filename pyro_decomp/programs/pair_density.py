"""Densities of every datum of a batch at any one z, for sums over pairs of data (internal)."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from pyro_decomp.distributions.densities import log_density, unmasked
from pyro_decomp.programs.enumeration import per_datum
from pyro_decomp.programs.prior_program import PriorProgram
from pyro_decomp.programs.program_state import preserving_rng_and_buffers
from pyro_decomp.programs.program_state.modules import buffers_kept, find_modules
from pyro_decomp.programs.sites import Site, plate_dims
from pyro_decomp.programs.substitute import Substitute


class PairDensity(ABC):
    """Log density of each of M data at one z: a program run with that z.

    Buffers of its networks, such as BatchNorm's statistics, stay as they were.

    Args:
        program: The program with its arguments bound.
        axes: Latent site of a datum to the data's (negative) dimension in its values.

    Attributes:
        is_copied: Whether the program sees a value once for every datum, as its own draws are.
    """

    def __init__(self, program: Callable[[], Any], axes: Mapping[str, int]) -> None:
        self.axes = dict(axes)
        self.is_copied = True
        self._program = program
        self._modules = find_modules([program])

    @abstractmethod
    def __call__(self, *z: Tensor) -> Float[Tensor, " m"]:
        """Score one z.

        Args:
            *z: One value of every site, in the order of ``axes`` and without the data's dimension.

        Returns:
            The log density of each datum, ``[M]``, in nats.
        """

    def broadcasts(self, z: Sequence[Tensor]) -> bool:
        """Whether the program gives the same if a value is not copied for every datum.

        What depends on values alone is then computed once a value, not once a pair.

        Args:
            z: Values of every site, of which two are tried.
        """
        some = [
            value.narrow(axis, 0, min(2, value.shape[axis])).detach()
            for value, axis in zip(z, self.axes.values(), strict=True)
        ]
        copied, self.is_copied = self.is_copied, True
        try:
            with (
                _disable_current_modes(),
                torch.no_grad(),
                preserving_rng_and_buffers([self._program]),
            ):
                pairs = torch.func.vmap(self, tuple(self.axes.values()))
                expected, self.is_copied = pairs(*some), False
                return torch.allclose(pairs(*some), expected, rtol=1e-3, atol=1e-4)
        except (RuntimeError, ValueError, IndexError):
            return False
        finally:
            self.is_copied = copied


class GuideDensity(PairDensity):
    """Log q(z|x_j) of a guide whose latent sites depend on one another: the guide run with z.

    Args:
        program: The guide with its arguments bound.
        axes: Latent site of a datum to the data's (negative) dimension in its values.
        fixed: Values of the guide's other sites.
        data_plate: The frame of the data plate.
    """

    def __init__(
        self,
        program: Callable[[], Any],
        axes: Mapping[str, int],
        fixed: Mapping[str, Tensor],
        data_plate: CondIndepStackFrame,
    ) -> None:
        super().__init__(program, axes)
        self._fixed = dict(fixed)
        self._plate = data_plate

    def __call__(self, *z: Tensor) -> Float[Tensor, " m"]:
        """Log q(z|x_j), ``[M]``, in nats; see :meth:`PairDensity.__call__`."""
        found = self._run(dict(zip(self.axes, z, strict=True)))
        log_probs = [
            per_datum(
                log_density(unmasked(found[name]["fn"]), found[name]["value"]),
                int(self._plate.dim),
                -min(plate_dims(found[name])),
            )
            for name in self.axes
        ]
        return torch.stack(log_probs).sum(0)

    def _run(self, z: Mapping[str, Tensor]) -> dict[str, Site]:
        """The latent sites of a run of the guide in which all data have one z."""

        def given(site: Site) -> Tensor | None:
            name = site["name"]
            if name not in z:
                return self._fixed.get(name)
            value = z[name].unsqueeze(self.axes[name])
            return value.expand(site["fn"].shape()) if self.is_copied else value

        handler, unchanged = Substitute(given, record=self.axes), buffers_kept(self._modules)
        with poutine.block(), pyro.validation_enabled(False), unchanged, handler:
            self._program()
        return handler.sites


class PriorDensity(PairDensity):
    """Log p(z|u_j) of a prior that is given something u of the datum: the prior run with z.

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
        """A value with the data's dimension, of size M if it is copied for every datum, else 1."""
        value = value.unsqueeze(axis)
        shape = list(value.shape)
        shape[axis] = self._size
        return value.expand(shape) if self.is_copied else value
