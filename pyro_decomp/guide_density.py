"""The density of a guide whose latent sites depend on one another."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_decomp.enumeration import per_datum
from pyro_decomp.modules import buffers_kept, find_modules
from pyro_decomp.program_state import undisturbed
from pyro_decomp.sites import plate_dims


class GuideDensity:
    """Log q(z|x_j) for every datum j of a batch, at any one z: the guide run with that z.

    Buffers of its networks, such as BatchNorm's statistics, stay as they were.

    Args:
        program: The guide with its arguments bound.
        axes: Latent site of a datum to the data's (negative) dimension in its values.
        fixed: Values of the guide's other sites.
        data_plate: The frame of the data plate.

    Attributes:
        is_copied: Whether the guide sees a value once for every datum, as its own draws are.
    """

    def __init__(
        self,
        program: Callable[[], Any],
        axes: Mapping[str, int],
        fixed: Mapping[str, Tensor],
        data_plate: CondIndepStackFrame,
    ) -> None:
        self.axes = dict(axes)
        self._program = program
        self._fixed = dict(fixed)
        self._plate = data_plate
        self._modules = find_modules([program])
        self.is_copied = True

    def broadcasts(self, z: Sequence[Tensor]) -> bool:
        """Whether the guide gives the same if a value is not copied for every datum.

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
            with torch.no_grad(), undisturbed([self._program]):
                pairs = torch.func.vmap(self, tuple(self.axes.values()))
                expected, self.is_copied = pairs(*some), False
                return torch.allclose(pairs(*some), expected, rtol=1e-3, atol=1e-4)
        except (RuntimeError, ValueError, IndexError):
            return False
        finally:
            self.is_copied = copied

    def num_data(self) -> int:
        """M, the data of the batch; the guide is run to find out."""
        with torch.no_grad(), undisturbed([self._program]):
            site = self._run({})[next(iter(self.axes))]
        return next(int(f.size) for f in site["cond_indep_stack"] if f.name == self._plate.name)

    def __call__(self, *z: Tensor) -> Float[Tensor, " m"]:
        """Log q(z|x_j), ``[M]``, in nats.

        Args:
            *z: One value of every site, in the order of ``axes`` and without the data's dimension.
        """
        found = self._run(dict(zip(self.axes, z, strict=True)))
        log_probs = [
            per_datum(
                found[name]["fn"].log_prob(found[name]["value"]),
                int(self._plate.dim),
                -min(plate_dims(found[name])),
            )
            for name in self.axes
        ]
        return torch.stack(log_probs).sum(0)

    def _run(self, z: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
        substitution = _Substitution(z, self.axes, self._fixed, is_copied=self.is_copied)
        unchanged = buffers_kept(self._modules)
        with poutine.block(), pyro.validation_enabled(False), unchanged, substitution:
            self._program()
        return substitution.sites


class _Substitution(Messenger):
    """Gives sites their values, one for all data, and records them."""

    def __init__(
        self,
        z: Mapping[str, Tensor],
        axes: Mapping[str, int],
        fixed: Mapping[str, Tensor],
        *,
        is_copied: bool,
    ) -> None:
        super().__init__()
        self._is_copied = is_copied
        self._z = z
        self._axes = axes
        self._fixed = fixed
        self.sites: dict[str, dict[str, Any]] = {}

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if name in self._z:
            value = self._z[name].unsqueeze(self._axes[name])
            msg["value"] = value.expand(msg["fn"].shape()) if self._is_copied else value
            msg["done"] = True
        elif name in self._fixed:
            msg["value"] = self._fixed[name]
            msg["done"] = True

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self._axes:
            self.sites[msg["name"]] = dict(msg)
