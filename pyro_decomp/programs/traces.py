"""What an objective may ask of one run of the guide and the model: terms, codes, q(z) and p(z)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float
from pyro import poutine
from pyro.poutine.indep_messenger import CondIndepStackFrame
from torch import Tensor

from pyro_decomp.aggregate_posterior import (
    AggregatePosterior,
    Estimator,
    Exact,
    PairWeights,
    StructuredPosterior,
)
from pyro_decomp.distributions.densities import unmasked, why_no_density
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.enumeration import NOTHING, Enumeration
from pyro_decomp.programs.pair_density import GuideDensity, PairDensity, PriorDensity
from pyro_decomp.programs.prior_inputs import PriorInputs, prior_inputs
from pyro_decomp.programs.prior_program import PriorProgram
from pyro_decomp.programs.rows import rows_of
from pyro_decomp.programs.site_densities import OwnSamples, SiteDensities
from pyro_decomp.programs.sites import plate_dims

Program = Callable[..., Any]

MOST_RUNS = 64  # runs of a prior, for the values of labels one after the other


@dataclass(frozen=True)
class Reference:
    """What q(z) and p(z) are taken over, for one estimator.

    Attributes:
        posterior: q(z), over the batch or the data of :class:`Exact`.
        prior: The mixture of these data's priors; None where all data share one prior.
        weights: The weights of both mixtures' components; None if all count the same.
    """

    posterior: AggregatePosterior | StructuredPosterior
    prior: AggregatePosterior | StructuredPosterior | None
    weights: PairWeights | None


class TracePair(SiteDensities):
    """One guide trace and the model trace replayed against it.

    Densities of single sites are those of :class:`SiteDensities`; which sites there are, and which
    rows are data, tell the attributes of :class:`TracedSites`.

    Args:
        model: The model's trace.
        guide: The guide's trace.
        programs: The model and the guide.
        arguments: What both took, by place and by name.
        enumeration: The discrete sites that are summed over.
        guide_dependencies: Latent site of the guide to the others that it depends on.
        use_analytic_kl: Whether to use closed forms of the KL.
        memory: What is found out once of a pair of programs is kept here.

    Attributes:
        model_program: The model, for further runs.
        guide_program: The guide, for further runs.
    """

    def __init__(
        self,
        model: poutine.Trace,
        guide: poutine.Trace,
        programs: tuple[Program, Program],
        arguments: tuple[tuple[Any, ...], Mapping[str, Any]],
        *,
        enumeration: Enumeration = NOTHING,
        guide_dependencies: Mapping[str, set[str]] = MappingProxyType({}),
        use_analytic_kl: bool = True,
        memory: dict[str, Any],
    ) -> None:
        super().__init__(
            model,
            guide,
            enumeration,
            guide_dependencies=guide_dependencies,
            use_analytic_kl=use_analytic_kl,
        )
        self.model_program, self.guide_program = programs
        self._arguments = arguments
        self._memory = memory

    @cached_property
    def prior(self) -> PriorProgram:
        """The model's latent sites as a program that can be drawn from and scored."""
        args, kwargs = self._arguments
        return self._prior_program(partial(self.model_program, *args, **kwargs))

    @cached_property
    def aggregate_posterior(self) -> AggregatePosterior | StructuredPosterior:
        """The aggregate posterior q(z) over this batch.

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
            args, kwargs = self._arguments
            program = partial(self.guide_program, *args, **kwargs)
            return self._structured_posterior(program, self.batch_size, self.counts)
        return self._mixture(self.guide.nodes, self.counts)

    def encodings(self, *args: Any) -> AggregatePosterior | StructuredPosterior:
        """The aggregate posterior over other data, by a run of the guide with global latents fixed.

        Args:
            *args: What the guide takes, for these data.

        Returns:
            The mixture of the encodings of these data.

        Raises:
            ModelError: As :attr:`aggregate_posterior`.
        """
        _ = self.aggregate_posterior  # its errors
        fixed = poutine.Trace()
        outside = (*self.global_latents, *self.global_auxiliaries)
        fixed.nodes.update({name: self.guide.nodes[name] for name in outside})
        with poutine.block(), poutine.trace() as captured, poutine.replay(trace=fixed):
            self.guide_program(*args)
        drawn = captured.trace.nodes
        frames = drawn[self.latents[0]]["cond_indep_stack"]
        size = next(int(f.size) for f in frames if f.name == self.data_plate.name)
        apart = self._unobserved()
        latent = [("guide", drawn[name]) for name in self.latents if name not in apart]
        rows = rows_of(latent, (), self.data_plate, size, of_one_program=True)
        counts = None if rows.counts is None else rows.counts.to(self.dtype)
        if self.is_structured:
            return self._structured_posterior(partial(self.guide_program, *args), size, counts)
        return self._mixture(drawn, counts)

    @property
    def is_structured(self) -> bool:
        """Whether some latent site depends in the guide on another of the same datum."""
        outside = {*self.global_latents, *self.global_auxiliaries}
        return any(self.guide_dependencies.get(name, set()) - outside for name in self.latents)

    @property
    def prior_inputs(self) -> PriorInputs:
        """What the prior is computed from, found out once of a model: see :func:`prior_inputs`."""
        if "prior inputs" not in self._memory:
            args, kwargs = self._arguments
            names = (*self.latents, *self.global_latents)
            self._memory["prior inputs"] = prior_inputs(
                self.model_program,
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
            return self._mixture(self.model.nodes, self.counts)
        args, kwargs = self._arguments
        program = partial(self.model_program, *args, **kwargs)
        return self._structured_prior(program, self.prior, self.batch_size, self.counts)

    def priors(
        self, *args: Any, counts: Float[Tensor, " m"] | None = None
    ) -> AggregatePosterior | StructuredPosterior | None:
        """The mixture of the priors of other data; see :attr:`aggregate_prior`.

        Args:
            *args: What the model takes, for these data.
            counts: How much each of them counts; None where all count the same.

        Returns:
            The mixture; None where all data share one prior.
        """
        if not self.prior_inputs.given:
            return None
        sites, plate = self.prior_of(*args).sites()
        if self._has_product_of_sites:
            return self._mixture(sites, counts)
        program = partial(self.model_program, *args)
        prior = self._prior_program(program, plate)
        return self._structured_prior(program, prior, int(plate.size), counts)

    def prior_of(self, *args: Any) -> PriorProgram:
        """The priors of other data, to be drawn from: one value a datum.

        Args:
            *args: What the model takes, for these data.

        Returns:
            The prior program of these data.
        """
        return self._prior_program(partial(self.model_program, *args))

    def reference(self, estimator: Estimator) -> Reference:
        """What q(z) and p(z) are taken over at the batch's own samples.

        Args:
            estimator: The estimator of q(z).

        Returns:
            The two mixtures and the weights of their components.

        Raises:
            ModelError: As :attr:`aggregate_posterior`.
        """
        if isinstance(estimator, Exact):
            posterior = self.encodings(*estimator.args)
            return Reference(posterior, self.priors(*estimator.args, counts=posterior.counts), None)
        weights = self.pair_weights(estimator)
        return Reference(self.aggregate_posterior, self.aggregate_prior, weights)

    def log_pz(self, own: OwnSamples, reference: Reference) -> Float[Tensor, " b"]:
        r"""Log p(z_i) of own samples, ``[B]``, in nats: the one p(z) that q(z) is held against.

        That is log \sum_j w_ij p(z_i|u_j) where the prior is given something of the datum, with
        the weights of q(z_i), and the model's own marginal, over all values of the labels, where
        labels come before a latent site. Else it is the prior's density.

        Returns:
            The log densities, ``[B]``.
        """
        if reference.prior is not None:
            return reference.prior.log_prob(own.z, reference.weights)
        return self.prior.log_prob(own.z) if self.prior_inputs.labels else own.log_pz

    def prior_codes(self, num_samples: int | None = None) -> Float[Tensor, "s d"]:
        """Samples of the prior, laid out as :meth:`codes`.

        Where the prior is given something of the datum, sample s is drawn given that of the datum
        of code s, counted from the first again where there are more, and every datum has as many.

        Args:
            num_samples: How many; None for as many as there are codes. Where the prior is given
                something of the datum, it is rounded up to a multiple of these.

        Returns:
            The samples, one a row.
        """
        if num_samples is not None and not self.prior_inputs.given:
            return self.joined(self.prior.draw(num_samples)[0])
        num_runs = -(-(num_samples or 1) // self.batch_size)
        runs = [self.kept(self.joined(self.prior.draw()[0])) for _ in range(num_runs)]
        return runs[0] if num_runs == 1 else torch.cat(runs)

    def _mixture(self, sites: Mapping[str, Any], counts: Tensor | None) -> AggregatePosterior:
        """The mixture over data of the product of the latent sites' distributions."""
        fns = {name: unmasked(sites[name]["fn"]) for name in self.latents}
        return AggregatePosterior(fns, self.data_plate.dim, counts)

    def _structured_posterior(
        self, program: Callable[[], Any], size: int, counts: Tensor | None
    ) -> StructuredPosterior:
        """The mixture of the encodings of a guide, with its arguments bound, run for pairs."""
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
        fixed = {name: self.guide.nodes[name]["value"] for name in outside}
        density = GuideDensity(program, self.axes, fixed, self.data_plate)
        self._choose_copies(density, "guide broadcasts")
        return StructuredPosterior(density, self.axes, size, counts)

    def _structured_prior(
        self, program: Callable[[], Any], prior: PriorProgram, size: int, counts: Tensor | None
    ) -> StructuredPosterior:
        """The mixture of the data's priors of a model, with its arguments bound, run for pairs."""
        density = PriorDensity(program, prior, self.axes, size)
        self._choose_copies(density, "prior broadcasts")
        return StructuredPosterior(density, self.axes, size, counts, "prior")

    def _choose_copies(self, density: PairDensity, key: str) -> None:
        """Tell a density whether its program takes values without copies, as is found out once."""
        if key not in self._memory:
            z = [self.guide.nodes[name]["value"] for name in self.latents]
            self._memory[key] = not self._enumeration.guide and density.broadcasts(z)
        density.is_copied = not self._memory[key]

    @property
    def _has_product_of_sites(self) -> bool:
        """Whether the prior is a product of densities of single sites, none of them summed over."""
        above = (self.prior_inputs.sites.get(name, ()) for name in self.latents)
        return not any(above)

    def _prior_program(
        self, program: Callable[[], Any], plate: CondIndepStackFrame | None = None
    ) -> PriorProgram:
        """The prior of a model with its arguments bound; by default in this batch's data plate."""
        fixed = {name: self.guide.nodes[name]["value"] for name in self.global_latents}
        plate = plate or self.data_plate
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
