"""What an objective may ask of one run of the guide and the model: terms per datum, unscaled."""

import math
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from pyro_decomp.aggregate_posterior import (
    AggregatePosterior,
    Estimator,
    Exact,
    PairWeights,
    StructuredPosterior,
    pair_weights,
)
from pyro_decomp.distributions.densities import log_density, why_no_density, without_validation
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.closed_form_kl import analytic_kl
from pyro_decomp.programs.enumeration import (
    NOTHING,
    Enumeration,
    enumerated_dim,
    factor,
    log_marginal,
    per_datum,
    varies_along,
)
from pyro_decomp.programs.guide_density import GuideDensity
from pyro_decomp.programs.labels import OBSERVED, UNOBSERVED
from pyro_decomp.programs.prior_density import PriorDensity
from pyro_decomp.programs.prior_inputs import PriorInputs, prior_inputs
from pyro_decomp.programs.prior_program import PriorProgram
from pyro_decomp.programs.rows import (
    Along,
    Rows,
    own_scale,
    plates_scale,
    rows_of,
    same,
    same_mask,
    site_mask,
    unmasked,
)
from pyro_decomp.programs.sites import Site, data_plate, plate_dims, sample_sites

Program = Callable[..., Any]

MOST_RUNS = 64  # of a prior, for the values of labels one after the other

TINY = 1e-30  # in the place of a sum of weights that is 0


@dataclass(frozen=True)
class OwnSamples:
    """The batch's own samples of q(z|x), for one choice of the guide's discrete sites.

    Attributes:
        z: Values of all latent sites of a datum.
        log_qz_x: Their joint log density under the encodings, ``[B]``.
        log_pz: That under the prior of each datum, p(z|u) where it is given something, ``[B]``.
    """

    z: Mapping[str, Tensor]
    log_qz_x: Float[Tensor, " b"]
    log_pz: Float[Tensor, " b"]


@dataclass(frozen=True)
class Reference:
    """What q(z) and p(z) are taken over, for one estimator.

    Attributes:
        posterior: q(z), over the batch or the data of :class:`Exact`.
        prior: The mixture of these data's priors; None where all data share one prior.
        weights: Of the mixtures' components, the same for both; None if all count the same.
    """

    posterior: AggregatePosterior | StructuredPosterior
    prior: AggregatePosterior | StructuredPosterior | None
    weights: PairWeights | None


class TracePair:
    """One guide trace and the model trace replayed against it.

    Everything is per datum, in nats, and free of scales, the plate's N/B and those of the user's
    own handlers: a vector with one entry for each of the B rows in the batch, 0 where a site is
    masked. :meth:`mean` is over the rows that are data, as :attr:`rows` tells. Where discrete sites
    of the guide have all of their values, what is given is the expectation over them.

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
        labels: Sites that are observed in the guide too.
        summed_out: Discrete sites of the model alone.
        kl_methods: For each latent site whose KL was asked for, "analytic" or "Monte Carlo".
    """

    def __init__(
        self,
        model: poutine.Trace,
        guide: poutine.Trace,
        program: Callable[[], Any],
        *,
        model_program: Program | None = None,
        guide_program: Program | None = None,
        guide_arguments: tuple[tuple[Any, ...], Mapping[str, Any]] = ((), MappingProxyType({})),
        use_analytic_kl: bool = True,
        guide_dependencies: Mapping[str, set[str]] = MappingProxyType({}),
        memory: dict[str, Any] | None = None,
        enumeration: Enumeration = NOTHING,
    ) -> None:
        self.model = model
        self.guide = guide
        self.model_program = model_program
        self.guide_program = guide_program
        self.use_analytic_kl = use_analytic_kl
        self.guide_dependencies = guide_dependencies
        self.kl_methods: dict[str, str] = {}
        self.data_plate = data_plate(model)
        self.batch_size = int(self.data_plate.size)
        self.num_data = int(self.data_plate.full_size or self.data_plate.size)
        self._guide_arguments = guide_arguments
        self._enumeration = enumeration
        self._memory = {} if memory is None else memory
        self._log_probs: dict[tuple[int, bool], Tensor] = {}
        self._is_scaled = False
        drawn = [site for site in sample_sites(guide) if not site["is_observed"]]
        local = [site["name"] for site in drawn if self._in_data_plate(site)]
        outside = [site["name"] for site in drawn if not self._in_data_plate(site)]
        self.latents = [name for name in local if name in model.nodes]
        self.global_latents = [name for name in outside if name in model.nodes]
        self.auxiliaries = [name for name in local if name not in model.nodes]
        self.global_auxiliaries = [name for name in outside if name not in model.nodes]
        self.observed = [site["name"] for site in sample_sites(model) if site["is_observed"]]
        self.labels = [
            s["name"] for s in sample_sites(guide) if s["is_observed"] and self._in_data_plate(s)
        ]
        self.summed_out = [n for n in model.nodes if n in enumeration.model]
        self.prior = self._prior_program(program, self.data_plate)

    @cached_property
    def rows(self) -> Rows:
        """Which rows of the batch are data, and how much each counts."""
        apart = self._unobserved()
        names = [name for name in self.latents if name not in apart]
        latent = [("guide", self.guide.nodes[name]) for name in names]
        latent += [("model", self.model.nodes[name]) for name in names]
        others = [("model", self.model.nodes[name]) for name in self.observed]
        others += [("guide", self.guide.nodes[name]) for name in (*self.labels, *self.auxiliaries)]
        others = [(role, site) for role, site in others if self._in_data_plate(site)]
        if not latent:
            return Rows()
        is_one = self.model is self.guide
        return rows_of(latent, others, self.data_plate, self.batch_size, of_one_program=is_one)

    def _unobserved(self) -> set[str]:
        """Latent sites that stand for the rows for which an ``obs_mask`` knows no value."""
        names = {*self.model.nodes}
        ends = [(n, n.removesuffix(UNOBSERVED)) for n in self.latents]
        return {name for name, stem in ends if stem != name and stem + OBSERVED in names}

    def _check_drawn_for_all(self) -> None:
        """Refuse codes of which the guide draws a site for some of the data only."""
        if partly := sorted(self._unobserved()):
            raise ModelError(
                f"the guide's site '{partly[0].removesuffix(UNOBSERVED)}' is observed for some of "
                "the data and drawn for the others, so that codes are of two kinds: for terms "
                "of the aggregate posterior leave it out of the guide, and it is summed out of the "
                "model; or set their weight to 0 to do without"
            )

    @cached_property
    def counts(self) -> Float[Tensor, " b"] | None:
        """How much each row counts: 0 if masked, else its weight; None if all count the same."""
        counts = self.rows.counts
        if counts is None:
            return None
        return counts.to(self.dtype)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the densities."""
        return self._raw_log_prob(self.guide.nodes[self.latents[0]]).dtype

    @cached_property
    def total(self) -> int | float | Tensor:
        """How much all data count: N, less those masked, or the sum of weights.

        It is N/B times that of the batch, where it is not known.
        """
        if self.counts is None:
            return self.num_data
        return (self.counts.sum() * (self.num_data / self.batch_size)).clamp_min(TINY)

    @cached_property
    def num_valid(self) -> float | Tensor | None:
        """How many of the N rows are data; None where no row is masked."""
        valid = self.rows.valid
        return None if valid is None else valid.sum() * (self.num_data / self.batch_size)

    def mean(self, values: Float[Tensor, "*k b"]) -> Float[Tensor, "*k"]:
        """The mean over the data of the batch: weighted, and of rows that are not masked.

        Args:
            values: One a row; a scalar is left as it is.
        """
        if values.dim() == 0:
            return values
        if self.counts is None:
            return values.mean(-1)
        kept = values.masked_fill(self.counts == 0, 0.0)
        return (kept * self.counts).sum(-1) / (self.total * (self.batch_size / self.num_data))

    @property
    def has_scales(self) -> bool:
        """Whether a site of the user's has a scale that the weights of data do not account for."""
        sites = [*sample_sites(self.guide), *sample_sites(self.model)]
        return any(isinstance(own, Tensor) or own != 1 for own in map(own_scale, sites))

    @property
    def scaled(self) -> "TracePair":
        """The same, but every density has the scale of its site, as the objective has it."""
        pair = copy(self)
        pair._is_scaled = True
        return pair

    def require_regular(self, what: str) -> None:
        """Refuse masks and scales under which it is not said what q(z) is.

        Raises:
            ModelError: They are not the same around all sites of a datum.
        """
        if self.rows.irregular:
            raise ModelError(
                f"{self.rows.irregular}, so that {what} has no meaning: expected poutine.mask and "
                "poutine.scale over the data plate, around all sites of a datum in both programs; "
                "or an objective that is an ELBO alone, such as BetaELBO()"
            )

    @cached_property
    def num_rows(self) -> int:
        """How many rows of the batch are data; B too inside a transform that hides values."""
        valid = self.rows.valid
        found = None if valid is None else _number(valid.sum())
        return self.batch_size if found is None else found

    def require_rows(self) -> None:
        """Refuse a batch in which too few rows are data for q(z) to be estimated.

        Raises:
            ModelError: There is none, or only one where the batch is not all the data.
        """
        if self.rows.valid is None:
            return
        least = 1 if self.batch_size >= self.num_data else 2
        if self.num_rows < least:
            raise ModelError(
                f"a batch has {self.batch_size} rows of which {self.num_rows} are not masked: "
                f"expected at least {least} for terms of q(z); choose larger batches, or leave out "
                "masked rows"
            )

    def pair_weights(self, estimator: Estimator) -> PairWeights | None:
        """How much each encoding counts in log q(z_i) of this batch's own samples.

        Args:
            estimator: Of q(z); None is given for :class:`Exact`, whose encodings all count 1/N.

        Raises:
            ModelError: The rows are masked or weighted in a way that the estimator cannot follow.
        """
        if isinstance(estimator, Exact):
            return None
        self.require_rows()
        return pair_weights(
            estimator,
            self.num_data,
            self.batch_size,
            counts=self.counts,
            total=self.total,
            num_valid=self.num_valid,
        )

    def log_prob(self, name: str, *, guide: bool = False) -> Tensor:
        """The site's log density per datum, ``[B]``; a scalar for a site outside the data plate.

        Raises:
            ModelError: The site's density depends on a discrete site that is summed out.
        """
        if not guide and name in self.entangled:
            summed = ", ".join(map(repr, self.summed_out))
            raise ModelError(
                f"site '{name}' has no density of its own, as it depends on {summed}, which is "
                "summed out: expected a mixture inside one site, such as MixtureSameFamily"
            )
        return self.expectation(self._log_prob(name, guide=guide))

    def kl(self, name: str) -> Tensor:
        """KL(q(z|x) || p(z)) of one latent site per datum, ``[B]``.

        Analytic where a closed form is registered, the site's prior depends on nothing drawn after
        it in the guide, and both programs mask and scale it alike; else the one-sample estimate
        log q - log p, which for an auxiliary site is log q. A scalar for a site outside the data
        plate.

        Raises:
            ModelError: The site's prior depends on a discrete site that is summed out.
        """
        if name not in self.model.nodes:
            return self.log_prob(name, guide=True)
        q, p = self.guide.nodes[name], self.model.nodes[name]
        is_joint = name not in self.entangled and self._order_agrees(name)
        if self.use_analytic_kl and is_joint and self._counts_alike(q, p):
            kl = analytic_kl(q["fn"], p["fn"])
            if kl is not None:
                self.kl_methods[name] = "analytic"
                return self.per_datum(kl, q)
        self.kl_methods[name] = "Monte Carlo"
        return self.log_prob(name, guide=True) - self.log_prob(name)

    def total_kl(self) -> Tensor:
        """KL(q(z|x) || p(z)) of all latent sites of a datum, ``[B]``.

        The prior is summed over the discrete sites that the model alone has.
        """
        names = [n for n in (*self.latents, *self.auxiliaries) if n not in self.entangled]
        total = _total(self.kl(name) for name in names)
        entangled = [name for name in self.latents if name in self.entangled]
        if not entangled:
            return total
        self.kl_methods |= dict.fromkeys(entangled, "Monte Carlo")
        log_q = _total(self.log_prob(name, guide=True) for name in entangled)
        return total + log_q - self.expectation(self._entangled_log_prob(observed=False))

    def log_likelihood(self) -> Tensor:
        """Log p(x|z) of all observed sites of a datum, ``[B]``.

        Where some depend on discrete sites that the model alone has, log p(x, z) - log p(z), each
        summed over these.
        """
        local = [n for n in self.observed if self._in_data_plate(self.model.nodes[n])]
        names = [name for name in local if name not in self.entangled]
        total = _total(self.log_prob(name) for name in names)
        if len(names) == len(local):
            return total
        joint = self._entangled_log_prob(observed=True)
        return total + self.expectation(joint - self._entangled_log_prob(observed=False))

    def global_log_likelihood(self) -> Tensor:
        """Log density of the observed sites outside the data plate, a scalar."""
        outside = [n for n in self.observed if not self._in_data_plate(self.model.nodes[n])]
        return _total(self.log_prob(name) for name in outside)

    def log_prior(self) -> Tensor:
        """Log p(z) of all latent sites of a datum, ``[B]``."""
        return self.expectation(self._log_prior())

    def log_posterior(self) -> Tensor:
        """Log q(z|x) of all latent and auxiliary sites of a datum, ``[B]``."""
        names = (*self.latents, *self.auxiliaries)
        return _total(self.log_prob(name, guide=True) for name in names)

    def why_not_weighted(self) -> str:
        """Why p(x, z) / q(z|x) says nothing of p(x); empty where its mean over q is p(x).

        A Delta at a function of a datum's auxiliary sites, with its ``log_density``, is a change of
        variables and has a density; one of auxiliary sites that all data share has not.
        """
        drawn = set(self.auxiliaries)
        own = (n for n in self.latents if not drawn & self.guide_dependencies.get(n, set()))
        return why_no_density({name: self.guide.nodes[name]["fn"] for name in own})

    def supervision(self) -> Tensor:
        """Log q(y|x) of the labels, sites that are observed in the guide too, ``[B]``."""
        return _total(self.log_prob(name, guide=True) for name in self.labels)

    def expectation(self, value: Tensor) -> Tensor:
        """Over the guide's discrete sites, of what has their values along dimensions to the left.

        Args:
            value: ``[..., B]``; a scalar is left as it is.
        """
        if self._log_weights is None or value.dim() == 0:
            return value
        weights = self._log_weights.exp()
        shape = torch.broadcast_shapes(weights.shape, value.shape)
        weights, value = weights.expand(shape), value.expand(shape)
        weighted = weights * value.masked_fill(weights == 0, 0.0)
        return weighted.flatten(0, -2).sum(0)

    def per_datum(self, value: Tensor, site: Site) -> Tensor:
        """Of a quantity of a site: summed over plates, without N/B, in expectation; ``[B]``."""
        return self.expectation(self._per_datum(value, site))

    def over_own_samples(self, f: Callable[[OwnSamples], Tensor]) -> Tensor:
        """The expectation over the guide's discrete sites of ``f`` at the batch's own samples.

        Args:
            f: Gives ``[..., B]``.

        Returns:
            ``[..., B]``.
        """
        log_qz_x = _total(self._log_prob(name, guide=True) for name in self.latents)
        log_pz = self._log_prior()
        if self._log_weights is None:
            z = {name: self.guide.nodes[name]["value"] for name in self.latents}
            return f(OwnSamples(z, log_qz_x, log_pz))
        shape = self._log_weights.shape
        per_choice, total = partial(torch.broadcast_to, size=shape), torch.zeros(())
        log_qz_x, log_pz = per_choice(log_qz_x), per_choice(log_pz)
        for choice in product(*map(range, shape[:-1])):
            z = {name: self._chosen(name, choice) for name in self.latents}
            value = f(OwnSamples(z, log_qz_x[choice], log_pz[choice]))
            total = total + self._log_weights[choice].exp() * value
        return total

    @cached_property
    def axes(self) -> dict[str, int]:
        """Latent site of a datum to the data's (negative) dimension in its values."""
        return {name: self.data_plate.dim - self._event_dim(name) for name in self.latents}

    @cached_property
    def aggregate_posterior(self) -> AggregatePosterior | StructuredPosterior:
        """q(z) over this batch.

        Where latent sites depend on one another in the guide, q(z|x_j) at another datum's sample is
        not the product of the traced distributions, and the guide is asked for it anew.

        Raises:
            ModelError: No latent site is inside the data plate; or the guide draws auxiliary sites,
                so that its density is not known.
        """
        self._check_drawn_for_all()
        if not self.latents:
            raise ModelError(
                f"no latent site is inside the data plate '{self.data_plate.name}': terms of the "
                "aggregate posterior need one there; set their weight to 0 to do without"
            )
        self.require_regular("q(z)")
        if self.is_structured:
            args, kwargs = self._guide_arguments
            return self._structured(self.counts, *args, size=self.batch_size, **kwargs)
        return self._mixture(self.guide, self.counts)

    @property
    def prior_inputs(self) -> PriorInputs:
        """What the prior is computed from, found out once of a model: see :func:`prior_inputs`."""
        if "prior inputs" not in self._memory:
            args, kwargs = self._guide_arguments
            names = (*self.latents, *self.global_latents)
            self._memory["prior inputs"] = prior_inputs(
                self._model(),
                args,
                kwargs,
                trace=self.model,
                plate=self.data_plate,
                sites=(self.latents, {n: self.guide.nodes[n]["value"].detach() for n in names}),
            )
        found: PriorInputs = self._memory["prior inputs"]
        return found

    @cached_property
    def aggregate_prior(self) -> AggregatePosterior | StructuredPosterior | None:
        r"""The mixture \sum_j p(z|u_j) / B of the priors of this batch's data.

        What u is, arguments of the programs and observed sites, :attr:`prior_inputs` tells. None
        where nothing of a datum enters its prior, so that all data share one.
        """
        if not self.prior_inputs.given:
            return None
        if self._has_product_of_sites:
            sites = {name: unmasked(self.model.nodes[name]["fn"]) for name in self.latents}
            return AggregatePosterior(sites, self.data_plate.dim, self.counts)
        args, kwargs = self._guide_arguments
        program = partial(self._model(), *args, **kwargs)
        return self._mixture_of_priors(program, self.prior, self.batch_size, self.counts)

    def priors(
        self, *args: Any, counts: Float[Tensor, " m"] | None = None
    ) -> AggregatePosterior | StructuredPosterior | None:
        """The mixture of the priors of other data; see :attr:`aggregate_prior`.

        Args:
            *args: What the model takes, for these data.
            counts: How much each of them counts; None where all count the same.
        """
        if not self.prior_inputs.given:
            return None
        sites, plate = self.prior_of(*args).sites()
        if self._has_product_of_sites:
            fns = {name: unmasked(sites[name]["fn"]) for name in self.latents}
            return AggregatePosterior(fns, self.data_plate.dim, counts)
        program = partial(self._model(), *args)
        prior = self._prior_program(program, plate)
        return self._mixture_of_priors(program, prior, int(plate.size), counts)

    def prior_of(self, *args: Any) -> PriorProgram:
        """The priors of other data, to be drawn from: one value a datum.

        Args:
            *args: What the model takes, for these data.
        """
        return self._prior_program(partial(self._model(), *args), self.data_plate)

    def reference(self, estimator: Estimator) -> Reference:
        """What q(z) and p(z) are taken over at the batch's own samples.

        Raises:
            ModelError: As :attr:`aggregate_posterior`.
        """
        if isinstance(estimator, Exact):
            posterior = self.encodings(*estimator.args)
            return Reference(posterior, self.priors(*estimator.args, counts=posterior.counts), None)
        weights = self.pair_weights(estimator)
        return Reference(self.aggregate_posterior, self.aggregate_prior, weights)

    def log_pz(self, own: OwnSamples, reference: Reference) -> Float[Tensor, " b"]:
        r"""Log p(z_i) of own samples, in nats: the one p(z) that q(z) is held against.

        That is log \sum_j w_ij p(z_i|u_j) where the prior is given something of the datum, with
        the weights of q(z_i), and the model's own marginal, over all values of the labels, where
        labels come before a latent site. Else it is the prior's density.
        """
        if reference.prior is not None:
            return reference.prior.log_prob(own.z, reference.weights)
        return self.prior.log_prob(own.z) if self.prior_inputs.labels else own.log_pz

    @property
    def is_structured(self) -> bool:
        """Whether some latent site depends in the guide on another of the same datum."""
        outside = {*self.global_latents, *self.global_auxiliaries}
        return any(self.guide_dependencies.get(name, set()) - outside for name in self.latents)

    def encodings(self, *args: Any) -> AggregatePosterior | StructuredPosterior:
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
        drawn = captured.trace
        size = next(
            int(f.size)
            for f in drawn.nodes[self.latents[0]]["cond_indep_stack"]
            if f.name == self.data_plate.name
        )
        apart = self._unobserved()
        latent = [("guide", drawn.nodes[name]) for name in self.latents if name not in apart]
        rows = rows_of(latent, (), self.data_plate, size, of_one_program=True)
        counts = None if rows.counts is None else rows.counts.to(self.dtype)
        if self.is_structured:
            return self._structured(counts, *args, size=size)
        return self._mixture(drawn, counts)

    def codes(self) -> Float[Tensor, "b d"]:
        """This batch's own samples of all latent sites, one row a datum, flattened and joined.

        Rows that are masked are left out.

        Raises:
            ModelError: Some of them are discrete, and have all of their values instead of one.
        """
        return self.all_codes()[self._kept_rows()]

    def all_codes(self) -> Float[Tensor, "b d"]:
        """The same, with the rows that are masked among them.

        Raises:
            ModelError: As :meth:`codes`.
        """
        self._check_drawn_for_all()
        if discrete := [n for n in self.latents if n in self._enumeration.guide]:
            named = ", ".join(map(repr, discrete))
            raise ModelError(
                f"the guide's site {named} is discrete and summed over, so that a datum has no one "
                "code to sample: use a divergence of densities, InclusiveKL() or ExclusiveKL(), or "
                "set the weight of this term to 0"
            )
        if not self.rows.is_of_sites:
            self.require_regular("a sample of q(z)")
        return self._joined({name: self.guide.nodes[name]["value"] for name in self.latents})

    def row_weights(self) -> Float[Tensor, " b"] | None:
        """The weight of every row of :meth:`codes`; None where all count the same."""
        weight = self.rows.weight
        return None if weight is None else weight.to(self.dtype)[self._kept_rows()]

    def _kept_rows(self) -> Tensor | slice:
        """Which rows are data; their number is asked for, lest a transform take it as fixed."""
        if self.rows.valid is None:
            return slice(None)
        int(self.rows.valid.sum())
        return self.rows.valid.nonzero()[:, 0]

    def prior_codes(self, num_samples: int | None = None) -> Float[Tensor, "s d"]:
        """Samples of the prior, laid out as :meth:`codes`.

        Where the prior is given something of the datum, sample s is drawn given that of the datum
        of code s, counted from the first again where there are more, and every datum has as many.

        Args:
            num_samples: How many; None for as many as there are codes. Where the prior is given
                something of the datum, it is rounded up to a multiple of these.
        """
        if num_samples is not None and not self.prior_inputs.given:
            return self._joined(self.prior.draw(num_samples)[0])
        num_runs = -(-(num_samples or 1) // self.batch_size)
        runs = [self._joined(self.prior.draw()[0])[self._kept_rows()] for _ in range(num_runs)]
        return runs[0] if num_runs == 1 else torch.cat(runs)

    @cached_property
    def entangled(self) -> set[str]:
        """The model's sites whose density depends on a discrete site that is summed out."""
        dims = [enumerated_dim(self.model.nodes[name]) for name in self.summed_out]
        if not self.summed_out:
            return set()
        return {
            site["name"]
            for site in sample_sites(self.model)
            if site["name"] not in self.summed_out
            if any(varies_along(self._raw_log_prob(site), dim) for dim in dims if dim)
        }

    def _entangled_log_prob(self, *, observed: bool) -> Tensor:
        """Log p of the entangled latents, or of these and the entangled data; ``[..., B]``."""
        names = [n for n in self.entangled if observed or n not in self.observed]
        return self._summed_out(sorted(names, key=list(self.model.nodes).index))

    def _summed_out(self, names: list[str]) -> Tensor:
        discrete = [self.model.nodes[name] for name in self.summed_out]
        # A datum whose discrete site is masked out has it all the same: it sums to one.
        others = [self.model.nodes[name] for name in names]
        scale = self._common_scale([*discrete, *others])
        factors = [factor(site, self._raw_log_prob(site), is_masked=False) for site in discrete]
        factors += [factor(site, self._raw_log_prob(site)) for site in others]
        total = log_marginal(
            factors, discrete, int(self.data_plate.dim), self._enumeration.num_plates
        )
        return total if scale is None else total * scale

    def _common_scale(self, sites: list[Site]) -> float | Tensor | None:
        """The scale of a sum over discrete sites, which is all of its factors'; None if it is 1.

        Raises:
            ModelError: They have not one scale.
        """
        along = Along(int(self.data_plate.dim), self.batch_size)
        scales = [along.vector(1.0 if (s := self._scale(site)) is None else s) for site in sites]
        for site, scale in zip(sites, scales, strict=True):
            is_one = scale is not None and scales[0] is not None and same(scale, scales[0])
            if not is_one or (self.rows.irregular and not same(scale, 1.0)):
                raise ModelError(
                    f"site '{site['name']}' has a scale of its own beside a discrete site that is "
                    "summed out: expected one poutine.scale around all latent sites of both "
                    "programs, or none; the objective's weights apply after the sum"
                )
        return scales[0] if isinstance(scales[0], Tensor) or scales[0] != 1 else None

    def _log_prior(self) -> Tensor:
        """Log p(z) for every choice of the guide's discrete sites, ``[..., B]``."""
        names = [name for name in self.latents if name not in self.entangled]
        total = _total(self._log_prob(name, guide=False) for name in names)
        if len(names) == len(self.latents):
            return total
        return total + self._entangled_log_prob(observed=False)

    @cached_property
    def _log_weights(self) -> Tensor | None:
        """Log q of the guide's discrete sites, for every choice of their values: ``[..., B]``."""
        if not self._enumeration.guide:
            return None
        discrete = [s for s in sample_sites(self.guide) if s["name"] in self._enumeration.guide]
        plates = int(self.data_plate.dim), self._enumeration.num_plates
        # A datum whose site is masked out has it all the same, and its values sum to one.
        return _total(per_datum(self._raw_log_prob(site), *plates) for site in discrete)

    def _chosen(self, name: str, choice: tuple[int, ...]) -> Tensor:
        """A latent site's values for one choice of the guide's discrete sites."""
        site = self.guide.nodes[name]
        value, event_dim = site["value"], len(site["fn"].event_shape)
        plates = self._enumeration.num_plates
        shape = [1] * plates
        shape[self.data_plate.dim] = self.batch_size
        extra = value.dim() - event_dim - plates
        value = value[(None,) * (len(choice) - extra)] if extra < len(choice) else value
        for index in choice:
            value = value[min(index, len(value) - 1)]
        batch = torch.broadcast_shapes(value.shape[: value.dim() - event_dim], tuple(shape))
        return value.expand(*batch, *value.shape[value.dim() - event_dim :])

    def _structured(
        self, counts: Tensor | None, *args: Any, size: int, **kwargs: Any
    ) -> StructuredPosterior:
        if self.guide_program is None:
            raise TypeError("encodings of pairs: expected a TracePair with a guide_program")
        if self.auxiliaries:
            named = ", ".join(map(repr, self.auxiliaries))
            raise ModelError(
                f"the guide's auxiliary site {named} has no density in the model, so that q(z|x) "
                "cannot be scored at other data's samples: leave out terms of the aggregate "
                "posterior, or use a divergence of samples such as MMD()"
            )
        if reason := why_no_density({n: self.guide.nodes[n]["fn"] for n in self.latents}):
            raise ModelError(
                f"{reason}: use a divergence of samples such as MMD(), or a guide with spread"
            )
        outside = (*self.global_latents, *self.global_auxiliaries)
        density = GuideDensity(
            partial(self.guide_program, *args, **kwargs),
            self.axes,
            {name: self.guide.nodes[name]["value"] for name in outside},
            self.data_plate,
        )
        if "guide broadcasts" not in self._memory:
            z = [self.guide.nodes[name]["value"] for name in self.latents]
            self._memory["guide broadcasts"] = not self._enumeration.guide and density.broadcasts(z)
        density.is_copied = not self._memory["guide broadcasts"]
        return StructuredPosterior(density, density.axes, size, counts)

    @property
    def _has_product_of_sites(self) -> bool:
        """Whether the prior is a product of densities of single sites, none of them summed over."""
        above = (self.prior_inputs.sites.get(name, ()) for name in self.latents)
        return not any(above)

    def _model(self) -> Program:
        if self.model_program is None:
            raise TypeError("priors of data: expected a TracePair with a model_program")
        return self.model_program

    def _prior_program(
        self, program: Callable[[], Any], plate: CondIndepStackFrame
    ) -> PriorProgram:
        fixed = {name: self.guide.nodes[name]["value"] for name in self.global_latents}
        return PriorProgram(program, self.axes, plate, fixed, self._enumeration, self._labels)

    def _labels(self) -> dict[str, Tensor | None]:
        """Labels that the prior is summed over, and the values that it is run for in turn."""
        sites = {name: self.model.nodes[name] for name in self.prior_inputs.labels}
        each: dict[str, Tensor | None] = {}
        for name, site in sites.items():
            values = site["fn"].enumerate_support(expand=False)
            each[name] = values.reshape(len(values), *site["fn"].event_shape)
        is_flat = all(plate_dims(site) == {self.data_plate.dim} for site in sites.values())
        num_runs = math.prod(len(values) for values in each.values() if values is not None)
        return each if is_flat and num_runs <= MOST_RUNS else dict.fromkeys(each)

    def _mixture_of_priors(
        self, program: Callable[[], Any], prior: PriorProgram, size: int, counts: Tensor | None
    ) -> StructuredPosterior:
        density = PriorDensity(program, prior, self.axes, size)
        if "prior broadcasts" not in self._memory:
            z = [self.guide.nodes[name]["value"] for name in self.latents]
            self._memory["prior broadcasts"] = not self._enumeration.guide and density.broadcasts(z)
        density.is_copied = not self._memory["prior broadcasts"]
        return StructuredPosterior(density, self.axes, size, counts, "prior")

    def _event_dim(self, name: str) -> int:
        return len(self.guide.nodes[name]["fn"].event_shape)

    def _mixture(self, guide: poutine.Trace, counts: Tensor | None) -> AggregatePosterior:
        qz_x = {name: unmasked(guide.nodes[name]["fn"]) for name in self.latents}
        return AggregatePosterior(qz_x, self.data_plate.dim, counts)

    def _joined(self, z: Mapping[str, Tensor]) -> Tensor:
        rows = [z[name].movedim(axis, 0) for name, axis in self.axes.items()]
        return torch.cat([row.reshape(len(row), -1) for row in rows], -1)

    def _in_data_plate(self, site: Site) -> bool:
        return any(frame.name == self.data_plate.name for frame in site["cond_indep_stack"])

    def _raw_log_prob(self, site: Site) -> Tensor:
        """Computed once, as the likelihood is wanted by itself and with the prior."""
        key = id(site), torch.is_grad_enabled()
        if key not in self._log_probs:
            fn, value = site["fn"], site["value"]
            if site["is_observed"]:
                log_prob = fn.log_prob(value, *site["args"], **site["kwargs"])
            elif self.guide.nodes.get(site["name"]) is site:
                log_prob = without_validation(fn).log_prob(value)  # its own draws
            else:  # the guide's draws may lie outside of the prior's support
                log_prob = log_density(fn, value)
            self._log_probs[key] = log_prob
        return self._log_probs[key]

    def _log_prob(self, name: str, *, guide: bool) -> Tensor:
        """For every choice of the guide's discrete sites, ``[..., B]``."""
        site = (self.guide if guide else self.model).nodes[name]
        return self._per_datum(self._raw_log_prob(site), site)

    def _per_datum(self, log_prob: Tensor, site: Site) -> Tensor:
        scale = self._scale(site)
        if scale is not None or site["mask"] is not None:
            log_prob = scale_and_mask(log_prob, 1.0 if scale is None else scale, site["mask"])
        if not self._in_data_plate(site):
            return log_prob.sum()
        num_plates = self._enumeration.num_plates if self._enumeration else log_prob.dim()
        return per_datum(log_prob, int(self.data_plate.dim), num_plates)

    def _scale(self, site: Site) -> float | Tensor | None:
        """What a site's density is multiplied by; None where it is as it is."""
        scale: float | Tensor = plates_scale(site, without=self.data_plate.name)
        if self._is_scaled:
            scale = own_scale(site) * scale
            weight = self.rows.weight
            if weight is not None and self._in_data_plate(site):
                scale = scale / weight.reshape(-1, *[1] * (-int(self.data_plate.dim) - 1))
        return None if not isinstance(scale, Tensor) and scale == 1 else scale

    def _counts_alike(self, q: Site, p: Site) -> bool:
        """Whether log q and log p are masked and scaled alike, so that they are a KL together."""
        masks = [site_mask(site)[0] for site in (q, p)]
        if masks[0] is not masks[1] and not same_mask(*masks):
            return False
        return not self._is_scaled or same(own_scale(q), own_scale(p))

    def _order_agrees(self, name: str) -> bool:
        """Whether all latents drawn before this one in the model are so in the guide too."""
        latents = [*self.global_latents, *self.latents]
        model_order = [site["name"] for site in sample_sites(self.model) if site["name"] in latents]
        guide_order = [site["name"] for site in sample_sites(self.guide)]
        before = set(guide_order[: guide_order.index(name)])
        return before.issuperset(model_order[: model_order.index(name)])


def _number(x: Tensor) -> int | None:
    """A tensor as a number; None inside a transform that hides values."""
    try:
        return int(x)
    except RuntimeError:
        return None


def _total(values: Iterable[Tensor]) -> Tensor:
    return sum(values, torch.zeros(()))
