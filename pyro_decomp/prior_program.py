"""The prior of a model: the program run only as far as its last latent site."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer.inspect import TrackProvenance
from pyro.ops.provenance import get_provenance
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_decomp.enumeration import NOTHING, Enumeration, Factor, log_marginal
from pyro_decomp.rows import unmasked
from pyro_decomp.sites import LastSiteReached, Site, plate_dims


class PriorProgram:
    """The model run only as far as its last latent site: the prior, without a decoder pass.

    Args:
        program: The model with its arguments bound.
        sites: Names of the local latent sites.
        data_plate: The frame of the data plate.
        fixed: Values of the sites that are not drawn, such as global latents.
        enumeration: Which of the model's discrete sites the density is summed over.

    Attributes:
        without_gradient: Sites of the last draw whose distribution is learned, or depends on what
            is, but whose sampler passes no gradients.
    """

    def __init__(
        self,
        program: Callable[[], Any],
        sites: list[str],
        data_plate: CondIndepStackFrame,
        fixed: dict[str, Tensor],
        enumeration: Enumeration = NOTHING,
    ) -> None:
        self._program = program
        self._sites = sites
        self._plate = data_plate
        self._fixed = fixed
        self._enumeration = enumeration
        self.without_gradient: list[str] = []

    def draw(self, num_samples: int | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Samples of every site and their joint log density.

        Args:
            num_samples: How many, S; None for as many as the batch has data, one run of the prior.

        Returns:
            Values with S entries along the data dimension, and log p(z), ``[S]``, in nats. A
            learned prior's parameters receive gradients through both where its sampler allows.
        """
        total = self._plate.size if num_samples is None else num_samples
        runs = [self._run({}) for _ in range(-(-total // self._plate.size))]
        values = {
            name: self._join([values[name] for values, _ in runs], name, total)
            for name in self._sites
        }
        return values, torch.cat([log_prob for _, log_prob in runs])[:total]

    def log_prob(self, z: dict[str, Tensor]) -> Tensor:
        """Log p(z), ``[S]``, in nats, of S given values along the data dimension of every site."""
        size = self._plate.size
        axes = {name: self._axis(name) for name in self._sites}
        total = z[self._sites[0]].shape[axes[self._sites[0]]]
        index = torch.arange(-(-total // size) * size, device=z[self._sites[0]].device) % total
        blocks = [
            {name: z[name].index_select(axes[name], rows) for name in self._sites}
            for rows in index.split(size)
        ]
        return torch.cat([self._run(block)[1] for block in blocks])[:total]

    def dependencies(self, z: dict[str, Tensor]) -> dict[str, set[str]]:
        """For each site, the others that its distribution depends on, seen at the values ``z``."""
        recorder = _UntilLast(self._sites, self._fixed | z)
        with torch.random.fork_rng(), torch.no_grad(), pyro.validation_enabled(False):
            with suppress(LastSiteReached), poutine.block(), TrackProvenance(), recorder:
                self._program()
            used = {
                name: get_provenance(site["fn"].log_prob(site["value"]))
                for name, site in recorder.sites.items()
            }
        return {name: (used[name] & set(self._sites)) - {name} for name in used}

    def _axis(self, name: str) -> int:
        if not hasattr(self, "_event_dims"):
            self._run({})
        return int(self._plate.dim) - self._event_dims[name]

    def _join(self, values: list[Tensor], name: str, total: int) -> Tensor:
        if len(values) == 1 and total == self._plate.size:
            return values[0]
        return torch.cat(values, self._axis(name)).narrow(self._axis(name), 0, total)

    def _run(self, z: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Draw, or score at ``z``: the values of every site and their joint log density."""
        found = self._record(self._program, z)
        factors = {name: _factor(site) for name, site in found.items()}
        values = {name: found[name]["value"] for name in self._sites}
        self._event_dims = {name: len(found[name]["fn"].event_shape) for name in self._sites}
        if not z:
            self.without_gradient = [
                name
                for name, factor in factors.items()
                if factor.log_prob.requires_grad and not found[name]["value"].requires_grad
            ]
        if discrete := [name for name in found if name in self._enumeration.model]:
            found = self._record(self._enumeration.wrapped_model(self._program), values)
            factors = {name: _factor(site) for name, site in found.items()}
        summed_out = [found[name] for name in discrete]
        data_dim, num_plates = int(self._plate.dim), max(-min(f.dims) for f in factors.values())
        return values, log_marginal(factors.values(), summed_out, data_dim, num_plates)

    def _record(self, program: Callable[[], Any], z: dict[str, Tensor]) -> dict[str, Site]:
        """The sites, and the discrete ones that are summed out, in the program's order."""
        recorder = _UntilLast(self._sites, self._fixed | z, self._enumeration.model)
        with suppress(LastSiteReached), poutine.block(), recorder:
            program()
        return recorder.sites


def _factor(site: Site) -> Factor:
    return Factor(unmasked(site["fn"]).log_prob(site["value"]), plate_dims(site), site["name"])


class _UntilLast(Messenger):
    """Gives the named sites their values, records them, and leaves the program after the last."""

    def __init__(
        self,
        names: list[str],
        values: dict[str, Tensor],
        others: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self._waiting = set(names)
        self._others = others
        self._values = values
        self.sites: dict[str, Site] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] in self._values:
            msg["value"] = self._values[msg["name"]]
            msg["done"] = True

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self._waiting or msg["name"] in self._others:
            self.sites[msg["name"]] = dict(msg)
            self._waiting.discard(msg["name"])
            if not self._waiting:
                raise LastSiteReached
