r"""Log p(x, z) of some data as a function of their continuous latents, free of all constraints."""

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from jaxtyping import Float
from pyro import poutine
from torch import Tensor
from torch.distributions import biject_to
from torch.distributions.transforms import Transform

from pyro_decomp.analysis.inference import data_first, local_latents
from pyro_decomp.data.batches import Batch
from pyro_decomp.elbo import BetaELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.sites import Site, data_plate
from pyro_decomp.training.run import Run


class LogJoint:
    r"""Log p(x, z) of every datum with z = T(u), and log \|det dT/du\| added: a density of u.

    Discrete sites are summed out, those that the guide infers too. The plate's N/B is left out, so
    that it is the log posterior of each datum up to a constant, whatever the size of the data set.

    Attributes:
        dim: d, the length of u.

    Raises:
        ModelError: There is no continuous latent site of a datum, or the support of one has no map
            from unconstrained numbers.
    """

    def __init__(self, run: Run, batch: Batch, outside: Mapping[str, Tensor]) -> None:
        self._batch = batch
        self._given = dict(outside)
        self._model = poutine.condition(run.model, data=self._given)
        self._elbo = BetaELBO()
        with torch.no_grad():
            trace = poutine.trace(self._model).get_trace(*batch)
            drawn = local_latents(trace)
        self._data_dim = int(data_plate(trace).dim)
        local = {name: trace.nodes[name] for name in drawn}
        self._sites = {n: s for n, s in local.items() if not s["fn"].has_enumerate_support}
        if not self._sites:
            raise ModelError("the model has no continuous latent site of a datum")
        self._transforms = {name: _transform(site) for name, site in self._sites.items()}
        self._shapes = {n: self._transforms[n].inv(drawn[n]).shape[1:] for n in self._sites}
        self.dim = sum(shape.numel() for shape in self._shapes.values())

    def __call__(self, u: Float[Tensor, "m d"]) -> Float[Tensor, " m"]:
        """The log density at each u in nats; m is a multiple of n, and the data are repeated."""
        times = len(u) // len(self._batch[0])
        batch = [tensor.repeat(times, *[1] * (tensor.dim() - 1)) for tensor in self._batch]
        total = u.new_zeros(len(u))
        for name, part in self._split(u).items():
            transform, site = self._transforms[name], self._sites[name]
            value = transform(part)
            total = total + transform.log_abs_det_jacobian(part, value).reshape(len(u), -1).sum(-1)
            self._given[name] = value.movedim(0, self._data_dim - len(site["fn"].event_shape))
        with pyro.validation_enabled(False):  # a sampler may try what a family refuses
            return total + self._elbo.drawn_pair(self._model, _nothing, *batch).log_likelihood()

    def constrained(self, u: Float[Tensor, "*batch n d"]) -> dict[str, Tensor]:
        """The latents at each u, site to z ``[*batch, n, ...]``."""
        parts = self._split(u.reshape(-1, self.dim))
        values = {name: self._transforms[name](part) for name, part in parts.items()}
        return {n: v.reshape(*u.shape[:-1], *v.shape[1:]) for n, v in values.items()}

    def unconstrained(self, trace: poutine.Trace) -> Float[Tensor, "m d"]:
        """The u of the values in a trace of the guide or the model."""
        parts = []
        for name, transform in self._transforms.items():
            value = data_first(trace.nodes[name]["value"], self._sites[name], self._data_dim)
            parts.append(transform.inv(value).reshape(len(value), -1))
        return torch.cat(parts, -1)

    def _split(self, u: Tensor) -> dict[str, Tensor]:
        parts = u.split([shape.numel() for shape in self._shapes.values()], -1)
        shapes = self._shapes.items()
        return {
            name: part.reshape(len(u), *shape)
            for part, (name, shape) in zip(parts, shapes, strict=True)
        }


def _nothing(*_batch: Tensor) -> None:
    """A guide that draws nothing, as all latents are given."""


def _transform(site: Site) -> Transform:
    support: Any = site["fn"].support
    try:
        return biject_to(support)
    except NotImplementedError as error:
        raise ModelError(
            f"site '{site['name']}' has the support {support}, to which no map from unconstrained "
            "numbers is known"
        ) from error
