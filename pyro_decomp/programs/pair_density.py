"""A program's density for every datum of a batch at any one z, as sums over pairs ask for it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from pyro_decomp.programs.modules import find_modules
from pyro_decomp.programs.program_state import undisturbed


class PairDensity(ABC):
    """Log density of each of M data at one z: a program run with that z.

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
        """The log densities, in nats.

        Args:
            *z: One value of every site, in the order of ``axes`` and without the data's dimension.
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
            with _disable_current_modes(), torch.no_grad(), undisturbed([self._program]):
                pairs = torch.func.vmap(self, tuple(self.axes.values()))
                expected, self.is_copied = pairs(*some), False
                return torch.allclose(pairs(*some), expected, rtol=1e-3, atol=1e-4)
        except (RuntimeError, ValueError, IndexError):
            return False
        finally:
            self.is_copied = copied
