"""The base of every objective: traces in, named terms and one loss out."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.infer.elbo import ELBOModule
from pyro.infer.util import torch_item
from pyro.util import warn_if_nan
from torch import Tensor, nn

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described, constructor_call, object_card, weighted_sum
from pyro_decomp.errors import ArgumentError
from pyro_decomp.programs.program_state.modules import buffers_kept, find_modules
from pyro_decomp.programs.structure import Program, ProgramStructure, RepeatedRuns, Traces, trace
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.seeds import random_state, set_random_state

PLAIN = frozenset({"log_likelihood", "kl", "global_kl", "supervision"})


@dataclass(frozen=True, repr=False)
class Estimate:
    """One evaluation of an objective on one batch; scalars in nats per datum, with gradients.

    Attributes:
        terms: Every term, unweighted, by name.
        objective: What is maximised, the weighted sum of the terms.
        elbo: The plain evidence lower bound of the same batch, all weights neutral.
        num_data: N, the full size of the data plate.
        total: How much all data count: N, or without the rows that are masked, or the sum of the
            data's weights.
        pairs: The traces behind it, one pair a particle.
    """

    terms: Mapping[str, Tensor]
    objective: Tensor
    elbo: Tensor
    num_data: int
    total: int | float | Tensor
    pairs: tuple[TracePair, ...]

    __repr__ = constructor_call

    @property
    def loss(self) -> Tensor:
        """What Pyro's SVI minimises: minus the objective, times how much all data count."""
        return -self.total * self.objective

    @property
    def logged(self) -> dict[str, Tensor]:
        """The values of a training step that are logged, by name: objective, ELBO, every term."""
        return {"objective": self.objective, "elbo": self.elbo, **self.terms}


class TermsELBO(Described, ELBO):
    r"""An objective that is a weighted sum of named terms, in nats per datum.

    A subclass supplies :meth:`terms` and :meth:`weights`; tracing, particles, plates, the sign and
    Pyro's three loss functions are derived from them here and nowhere else. The plain ELBO,

    .. math:: E_q[log p(x|z)] - KL(q(z|x) || p(z)) - KL(q(g) || p(g)) / N,

    with g the latent sites outside the data plate if there are any, is always among the terms.

    It works in Pyro's ``SVI(model, guide, optim, loss=elbo)``, as a module
    ``elbo(model, guide)(x)`` with a torch optimiser, and in :func:`pyro_decomp.train`. Losses have
    Pyro's scale, a sum over the N data; :meth:`evaluate` has everything per datum.

    Terms are free of scales: those of the user's own handlers enter the objective alone, so that
    its plain form is Pyro's. Rows that ``poutine.mask`` leaves out around all sites of a datum are
    no data, and a scale that varies along the data plate there is a weight of the datum; see
    :mod:`pyro_decomp.programs.rows`.

    Discrete sites are never drawn: those of the model alone are summed out, those of the guide are
    summed over, and weights apply to what is left. Where the model and the guide both observe a
    site, a label, for some of the data or all (``obs=``, with ``obs_mask=`` for some), the encoder
    is trained on it too: the objective has :attr:`supervision` times E[log q(y|x)] beside the plain
    ELBO, the mean over all data of the batch, as in Siddharth et al., "Learning Disentangled
    Representations with Semi-Supervised Deep Generative Models", 2017, eq. 4
    (https://arxiv.org/abs/1706.00400).

    Args:
        num_particles: Samples of the guide that the estimate averages.
        analytic_kl: Use the closed form of KL(q(z|x) || p(z)) where torch or Pyro register one,
            as ``TraceMeanField_ELBO`` does; False estimates it from the samples, as ``Trace_ELBO``
            does. :attr:`kl_methods` tells which was used.

    Attributes:
        kl_methods: Latent site to "analytic" or "Monte Carlo", as of the last evaluation.
        supervision: Weight of the labels' log q(y|x); 1 unless it is set.
        of_kl: The terms that a scale of the user's around all latent sites, annealing, multiplies
            in the objective.
    """

    of_kl: ClassVar[frozenset[str]] = frozenset({"kl"})

    _found_out_of_programs: ClassVar[frozenset[str]] = frozenset(
        {"kl_methods", "entropy_methods", "_structure", "_prior_checked", "_annealable"}
    )

    def __init__(self, *, num_particles: int = 1, analytic_kl: bool = True) -> None:
        arguments.annotated(TermsELBO.__init__, locals(), num_particles=1)
        super().__init__(num_particles=num_particles)
        self.analytic_kl = analytic_kl
        self.supervision: float | Tensor = 1.0
        self.kl_methods: dict[str, str] = {}
        self._structure: ProgramStructure | None = None

    def _repr_html_(self) -> str:
        return object_card(self, {"maximised": lambda: self.formula})

    @property
    def formula(self) -> str:
        """The objective that is maximised, a weighted sum of named terms, with present weights.

        The KL of latent sites outside the data plate is not named where it counts once.
        """
        weights = self.weights()
        return weighted_sum({n: w for n, w in weights.items() if (n, w) != ("global_kl", -1.0)})

    @abstractmethod
    def weights(self) -> dict[str, float | Tensor]:
        """The weight of every term in the objective that is maximised; 0 only logs it.

        A subclass adds those of its own terms, or others for these, to the plain ELBO's.

        Returns:
            Name of each term to its weight, a number or a scalar tensor.
        """
        return {"log_likelihood": 1.0, "kl": -1.0, "global_kl": -1.0}

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        """Compute named, unweighted scalars in nats per datum; a subclass adds its own to these.

        ``log_likelihood``
            E_q[log p(x|z)], summed over all observed sites.
        ``kl``
            KL(q(z|x) || p(z)), summed over the latent sites of a datum.
        ``global_kl``
            KL(q(g) || p(g)) / N; only if there are latent sites outside the data plate.
        ``supervision``
            E[log q(y|x)] of labels, 0 for data without; only if the guide observes a site.

        Returns:
            Name of each term to its value, a scalar with gradients.
        """
        return {name: term.mean(traces) for name, term in plain_terms(traces).items()}

    def of_means(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add terms that are functions of other terms' means over batch and particles.

        Returns:
            The terms, those added among them.
        """
        return terms

    def trace_pairs(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Iterator[TracePair]:
        """Run the guide and the model once a particle.

        Raises:
            ModelError: The pair or the batch is not something the objective can score.
        """
        arguments.function("a program", model=model, guide=guide)
        yield from self._pairs(model, guide, args, kwargs, is_drawn=False)

    def drawn_pair(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> TracePair:
        """Run the guide and the model once, the guide's discrete sites drawn and not summed over.

        Returns:
            The traces, as :meth:`trace_pairs` gives them.

        Raises:
            ModelError: The pair or the batch is not something the objective can score.
        """
        return next(self._pairs(model, guide, args, kwargs, is_drawn=True))

    def with_guide(self, guide: Program) -> "TermsELBO":
        """This objective, told that another guide has the sites of the last one that it ran.

        Internal. The programs are not looked at again.

        Returns:
            A copy, which shares all but the guide; see :meth:`.ProgramStructure.with_guide`.
        """
        other = copy(self)
        if self._structure is not None:
            other._structure = self._structure.with_guide(guide)
        return other

    def stop_watching_programs(self) -> None:
        """Say that the programs that were run last keep nothing between their runs.

        Internal. Further runs for a term of theirs need not be given the state of the first.
        """
        if self._structure is not None:
            self._structure.runs.stop_watching()

    def _pairs(
        self, model: Program, guide: Program, args: Any, kwargs: Any, *, is_drawn: bool
    ) -> Iterator[TracePair]:
        for _ in range(self.num_particles):
            structure, *traces = self._run(model, guide, args, kwargs, is_drawn)
            yield self._pair(structure, (traces[0], traces[1]), args, kwargs)

    def _pair(
        self, structure: ProgramStructure, traces: Traces, args: Any, kwargs: Any
    ) -> TracePair:
        """Traces of programs whose structure is known, as objectives see them."""
        model_trace, guide_trace = traces
        if structure.local_guides.named:
            structure.local_guides.check(guide_trace, model_trace)
        runs = structure.runs
        return TracePair(
            model_trace,
            guide_trace,
            (runs.again(structure.model, "model"), runs.again(structure.guide, "guide")),
            (args, kwargs),
            enumeration=structure.enumeration,
            guide_dependencies=structure.guide_dependencies,
            use_analytic_kl=self.analytic_kl,
            memory=structure.memory,
        )

    def evaluate(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Estimate:
        """Run the guide and the model once a particle and weigh the terms.

        Returns:
            The terms, the objective and the plain ELBO.

        Raises:
            ModelError: The pair or the batch is not something the objective can score.
        """
        return self._estimate(tuple(self.trace_pairs(model, guide, *args, **kwargs)))

    def _estimate(self, pairs: Sequence[TracePair]) -> Estimate:
        """Weigh the terms of traces, one pair a particle."""
        terms = self._mean_over([self.terms(pair) for pair in pairs])
        self.kl_methods = pairs[-1].kl_methods
        weights = {"supervision": self.supervision} | self.weights()
        if missing := terms.keys() - weights.keys():
            raise ArgumentError(
                f"{type(self).__name__}.weights(): expected a weight for every term, got none for "
                f"{', '.join(sorted(missing))} (0 only logs it)"
            )
        counted = {name: value for name, value in terms.items() if _counts(weights[name])}
        if pairs[0].rows.irregular and (others := counted.keys() - PLAIN):
            pairs[0].require_regular(", ".join(sorted(others)))
        if pairs[0].has_scales:
            scaled = self._mean_over([TermsELBO.terms(self, pair.scaled) for pair in pairs])
            annealing = pairs[0].rows.annealing
            annealed = {n: v * annealing for n, v in counted.items() if n in self.of_kl - PLAIN}
            counted |= annealed | {n: scaled[n] for n in counted.keys() & PLAIN}
        objective = _total(weights[name] * value for name, value in counted.items())
        elbo = terms["log_likelihood"] - terms["kl"] - terms.get("global_kl", 0.0)
        return Estimate(terms, objective, elbo, pairs[-1].num_data, pairs[-1].total, tuple(pairs))

    def _mean_over(self, particles: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Average terms over particles, and add those that are functions of the means."""
        totals: dict[str, Tensor] = {}
        for terms in particles:
            for name, value in terms.items():
                totals[name] = totals[name] + value if name in totals else value
        return self.of_means({name: value / len(particles) for name, value in totals.items()})

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        """Compute the loss, -N times the objective, with gradients.

        Returns:
            The loss, a scalar tensor.
        """
        return self.evaluate(model, guide, *args, **kwargs).loss

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Compute the loss, -N times the objective, without gradients.

        Returns:
            The loss, a number.
        """
        with torch.no_grad():
            loss = self.differentiable_loss(model, guide, *args, **kwargs)
        warn_if_nan(loss, "loss")
        return float(torch_item(loss))

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """Compute the loss, -N times the objective; add gradients to parameters' ``grad``.

        Returns:
            The loss, a number.
        """
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        warn_if_nan(loss, "loss")
        value: float = torch_item(loss)
        return value

    def __call__(self, model: Program, guide: Program) -> ELBOModule:
        """Make a module whose ``forward(x)`` is the loss.

        Its parameters include those of the modules that ``model`` and ``guide`` are methods of or
        close over.
        """
        return _OwningELBOModule(model, guide, self)

    def _get_trace(
        self, model: Program, guide: Program, args: Any, kwargs: Any
    ) -> tuple[poutine.Trace, poutine.Trace]:
        _, *traces = self._run(model, guide, args, kwargs, is_drawn=False)
        return traces[0], traces[1]

    def _run(
        self, model: Program, guide: Program, args: Any, kwargs: Any, is_drawn: bool
    ) -> tuple[ProgramStructure, poutine.Trace, poutine.Trace]:
        """The structure of the two programs, checked when it is first seen, and their traces."""
        known = self._structure
        if known is None or not known.is_of(model, guide, args, kwargs):
            known = None
        runs = RepeatedRuns(model, guide) if known is None else known.runs
        traced, look = partial(trace, runs=runs), partial(ProgramStructure.of, runs=runs)
        if known is None:
            before = random_state()
            with buffers_kept(runs.networks) as keep_updates:
                traces = traced(model, guide, args, kwargs)
                known = self._structure = look(model, guide, traces, args, kwargs)
                if not known.enumeration:
                    keep_updates()
                    return known, *traces
            set_random_state(before)  # what was drawn is not used
            runs.put_back()
        elif not known.enumeration:
            traces = traced(model, guide, args, kwargs)
            if known.has_sites_of(traces):
                return known, *traces
            known = self._structure = look(model, guide, traces, args, kwargs)
            if not known.enumeration:
                return known, *traces
        if is_drawn:
            known = replace(known, enumeration=known.enumeration.without_guide())
        traces = known.trace(args, kwargs)
        if not known.has_sites_of(traces):  # other sites than before: look again
            runs.put_back()
            drawn = traced(model, guide, args, kwargs)
            known = self._structure = look(model, guide, drawn, args, kwargs)
            runs.put_back()
            traces = known.trace(args, kwargs)
            known.require_sites_of(traces)
        return known, *traces


def _counts(weight: float | Tensor) -> bool:
    """Whether a term is optimised; one of weight 0 is only logged, and may be infinite."""
    return isinstance(weight, Tensor) or weight != 0


def _total(values: Iterable[Tensor]) -> Tensor:
    return sum(values, torch.zeros(()))


class _OwningELBOModule(ELBOModule):
    """Pyro's module, which also owns the networks that its programs use."""

    def __init__(self, model: Program, guide: Program, elbo: ELBO) -> None:
        super().__init__(model, guide, elbo)
        self.networks = nn.ModuleList(find_modules([model, guide]))


@dataclass(frozen=True)
class PlainTerm:
    """One of the plain ELBO's terms, computed when it is asked for; see :func:`plain_terms`.

    Attributes:
        per_datum: Of each datum of the batch, ``[B]``, in nats; None where there is no such part.
        shared: Of all N data together, in nats; None where there is no such part.
    """

    per_datum: Callable[[], Tensor] | None = None
    shared: Callable[[], Tensor] | None = None

    def mean(self, traces: TracePair) -> Tensor:
        """The mean of the term per datum."""
        own = None if self.per_datum is None else traces.mean(self.per_datum())
        if self.shared is None:
            assert own is not None
            return own
        shared = self.shared() / traces.total
        return shared if own is None else own + shared


def plain_terms(traces: TracePair) -> dict[str, PlainTerm]:
    """The plain ELBO's terms by name, as :meth:`TermsELBO.terms` defines them."""
    found = {
        "log_likelihood": PlainTerm(traces.log_likelihood, traces.global_log_likelihood),
        "kl": PlainTerm(traces.total_kl),
    }
    outside = (*traces.global_latents, *traces.global_auxiliaries)
    if outside:
        zero = torch.zeros(())
        found["global_kl"] = PlainTerm(shared=lambda: sum(map(traces.kl, outside), zero))
    if traces.labels:
        found["supervision"] = PlainTerm(traces.supervision)
    return found
