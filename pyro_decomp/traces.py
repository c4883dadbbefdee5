"""What an objective may ask of one run of the guide and the model: terms per datum, unscaled."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from pyro import poutine
from pyro.distributions import Delta, Distribution, Independent
from pyro.distributions.util import scale_and_mask
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.subsample_messenger import _Subsample
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor

from pyro_decomp.aggregate_posterior import AggregatePosterior
from pyro_decomp.errors import ModelError
from pyro_decomp.prior_program import PriorProgram

DATA_PLATE = "data"

Site = dict[str, Any]


class SampleTrace(TraceMessenger):
    """A trace of sample sites; parameters pass through it to whoever records them outside."""

    records_parameters = False

    def _pyro_post_param(self, msg: Any) -> None:
        pass


def sample_sites(trace: poutine.Trace) -> Iterator[Site]:
    """The random sites of a trace: neither subsampling by plates nor ``pyro.deterministic``."""
    for site in trace.nodes.values():
        if site["type"] != "sample" or type(site["fn"]) is _Subsample:
            continue
        if not site["infer"].get("_deterministic"):
            yield site


def analytic_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q || p) where torch or Pyro register a closed form for the pair, else None.

    None for a Delta too: Pyro's closed form leaves out its ``log_density``, and log q - log p at
    its only value is exact.
    """
    base: Any = q
    while isinstance(base, Independent):
        base = base.base_dist
    if isinstance(base, Delta):
        return None
    try:
        kl = torch.distributions.kl_divergence(q, p)
    except NotImplementedError:
        return None
    return kl if isinstance(kl, Tensor) else None  # a number where both are masked out


class TracePair:
    """One guide trace and the model trace replayed against it.

    Everything is per datum, in nats, and free of the plate's N/B: a vector with one entry for each
    of the B data in the batch. A scale that the user's own handlers set stays in.

    Attributes:
        model: The model's trace.
        guide: The guide's trace.
        prior: The model's latent sites as a program that can be drawn from and scored.
        data_plate: The frame of the data plate.
        batch_size: B, the data in this batch.
        num_data: N, the full size of the data plate.
        latents: Latent sites inside the data plate, in the guide's order.
        global_latents: Latent sites outside it.
        auxiliaries: Sites of the guide alone that it marks as auxiliary, inside the data plate.
        global_auxiliaries: The same outside it.
        observed: The model's observed sites.
        kl_methods: For each latent site whose KL was asked for, "analytic" or "Monte Carlo".
    """

    def __init__(
        self,
        model: poutine.Trace,
        guide: poutine.Trace,
        program: Callable[[], Any],
        *,
        guide_program: Callable[..., Any] | None = None,
        use_analytic_kl: bool = True,
        guide_dependencies: Mapping[str, set[str]] = MappingProxyType({}),
    ) -> None:
        self.model = model
        self.guide = guide
        self.guide_program = guide_program
        self.use_analytic_kl = use_analytic_kl
        self.guide_dependencies = guide_dependencies
        self.kl_methods: dict[str, str] = {}
        self.data_plate = data_plate(model)
        self.batch_size = int(self.data_plate.size)
        self.num_data = int(self.data_plate.full_size or self.data_plate.size)
        drawn = [site for site in sample_sites(guide) if not site["is_observed"]]
        local = [site["name"] for site in drawn if self._in_data_plate(site)]
        outside = [site["name"] for site in drawn if not self._in_data_plate(site)]
        self.latents = [name for name in local if name in model.nodes]
        self.global_latents = [name for name in outside if name in model.nodes]
        self.auxiliaries = [name for name in local if name not in model.nodes]
        self.global_auxiliaries = [name for name in outside if name not in model.nodes]
        self.observed = [site["name"] for site in sample_sites(model) if site["is_observed"]]
        fixed = {name: guide.nodes[name]["value"] for name in self.global_latents}
        self.prior = PriorProgram(program, self.latents, self.data_plate, fixed)

    def log_prob(self, name: str, *, guide: bool = False) -> Tensor:
        """The site's log density per datum, ``[B]``; a scalar for a site outside the data plate."""
        site = (self.guide if guide else self.model).nodes[name]
        log_prob = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
        return self._per_datum(log_prob, site)

    def kl(self, name: str) -> Tensor:
        """KL(q(z|x) || p(z)) of one latent site per datum, ``[B]``.

        Analytic where a closed form is registered and the site's prior depends on nothing drawn
        after it in the guide; else the one-sample estimate log q - log p, which for an auxiliary
        site is log q. A scalar for a site outside the data plate.
        """
        if name not in self.model.nodes:
            return self.log_prob(name, guide=True)
        q, p = self.guide.nodes[name], self.model.nodes[name]
        if self.use_analytic_kl and self._order_agrees(name):
            kl = analytic_kl(q["fn"], p["fn"])
            if kl is not None:
                self.kl_methods[name] = "analytic"
                return self._per_datum(kl, q)
        self.kl_methods[name] = "Monte Carlo"
        return self.log_prob(name, guide=True) - self.log_prob(name)

    @cached_property
    def aggregate_posterior(self) -> AggregatePosterior:
        """q(z) over this batch.

        Raises:
            ModelError: No latent site is inside the data plate; or one depends in the guide on
                another one of the same datum, so that q(z|x_j) at another datum's sample is not
                the product of the traced distributions.
        """
        if not self.latents:
            raise ModelError(
                f"no latent site is inside the data plate '{self.data_plate.name}': terms of the "
                "aggregate posterior need one there; set their weight to 0 to do without"
            )
        for name in self.latents:
            outside = {*self.global_latents, *self.global_auxiliaries}
            parents = self.guide_dependencies.get(name, set()) - outside
            if parents:
                named = ", ".join(map(repr, sorted(parents)))
                raise ModelError(
                    f"the guide's site '{name}' depends on {named}: terms of the aggregate "
                    "posterior need latent sites that are independent given the datum, so make the "
                    "guide mean-field or leave that term out"
                )
        return self._mixture(self.guide)

    def encodings(self, *args: Any) -> AggregatePosterior:
        """q(z) over other data: the guide run on these arguments, its global latents held fixed.

        Raises:
            ModelError: As :attr:`aggregate_posterior`.
        """
        if self.guide_program is None:
            raise TypeError("encodings of other data: expected a TracePair with a guide_program")
        _ = self.aggregate_posterior  # its errors
        fixed = poutine.Trace()
        outside = (*self.global_latents, *self.global_auxiliaries)
        fixed.nodes.update({name: self.guide.nodes[name] for name in outside})
        with poutine.block(), poutine.trace() as captured, poutine.replay(trace=fixed):
            self.guide_program(*args)
        return self._mixture(captured.trace)

    def _mixture(self, guide: poutine.Trace) -> AggregatePosterior:
        qz_x = {name: guide.nodes[name]["fn"] for name in self.latents}
        return AggregatePosterior(qz_x, self.data_plate.dim)

    def codes(self) -> Float[Tensor, "b d"]:
        """This batch's own samples of all latent sites, one row a datum, flattened and joined."""
        return self._joined({name: self.guide.nodes[name]["value"] for name in self.latents})

    def prior_codes(self, num_samples: int | None = None) -> Float[Tensor, "s d"]:
        """Samples of the prior, laid out as :meth:`codes`; as many as the batch has by default."""
        return self._joined(self.prior.draw(num_samples)[0])

    def _joined(self, z: Mapping[str, Tensor]) -> Tensor:
        axes = {n: self.data_plate.dim - len(self.guide.nodes[n]["fn"].event_shape) for n in z}
        rows = [z[name].movedim(axes[name], 0) for name in self.latents]
        return torch.cat([row.reshape(len(row), -1) for row in rows], -1)

    def _in_data_plate(self, site: Site) -> bool:
        return any(frame.name == self.data_plate.name for frame in site["cond_indep_stack"])

    def _per_datum(self, log_prob: Tensor, site: Site) -> Tensor:
        scale = site["scale"]
        if not self._in_data_plate(site):
            return scale_and_mask(log_prob, scale, site["mask"]).sum()
        plate_scale = self.num_data / self.batch_size
        if isinstance(scale, Tensor) or scale != plate_scale:
            log_prob = scale_and_mask(log_prob, scale / plate_scale, site["mask"])
        elif site["mask"] is not None:
            log_prob = scale_and_mask(log_prob, 1.0, site["mask"])
        if log_prob.dim() == 1:
            return log_prob
        return log_prob.movedim(self.data_plate.dim, 0).reshape(self.batch_size, -1).sum(-1)

    def _order_agrees(self, name: str) -> bool:
        """Whether all latents drawn before this one in the model are so in the guide too."""
        latents = [*self.global_latents, *self.latents]
        model_order = [site["name"] for site in sample_sites(self.model) if site["name"] in latents]
        guide_order = [site["name"] for site in sample_sites(self.guide)]
        before = set(guide_order[: guide_order.index(name)])
        return before.issuperset(model_order[: model_order.index(name)])


def data_plate(model: poutine.Trace) -> CondIndepStackFrame:
    """The frame of the data plate: the one named "data", or else the only plate there is.

    Raises:
        ModelError: There is no such plate, or several and none named "data".
    """
    frames = {f.name: f for site in sample_sites(model) for f in site["cond_indep_stack"]}
    how = 'open pyro.plate("data", N, subsample=x) with the size N of the whole data set'
    if not frames:
        raise ModelError(f"the model has no data plate: {how}")
    if DATA_PLATE not in frames and len(frames) > 1:
        names = ", ".join(repr(name) for name in frames)
        raise ModelError(f"the model has the plates {names} and none is named 'data': {how}")
    frame = frames.get(DATA_PLATE) or next(iter(frames.values()))
    if frame.dim is None:
        raise ModelError(f"the data plate '{frame.name}' is a sequential loop: {how}")
    return frame
