"""The density of a guide whose latent sites depend on one another."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_decomp.distributions.densities import log_density
from pyro_decomp.programs.enumeration import per_datum
from pyro_decomp.programs.modules import buffers_kept
from pyro_decomp.programs.pair_density import PairDensity
from pyro_decomp.programs.rows import unmasked
from pyro_decomp.programs.sites import plate_dims


class GuideDensity(PairDensity):
    """Log q(z|x_j) for every datum j of a batch, at any one z: the guide run with that z.

    Buffers of its networks, such as BatchNorm's statistics, stay as they were.

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
