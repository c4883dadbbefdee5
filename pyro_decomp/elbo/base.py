"""The base of every objective: traces in, named terms and one loss out."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.infer.elbo import ELBOModule
from pyro.infer.util import torch_item
from pyro.util import warn_if_nan
from torch import Tensor, nn

from pyro_decomp import preflight
from pyro_decomp.dependence import ancestors, dependencies
from pyro_decomp.enumeration import Enumeration
from pyro_decomp.errors import ModelError
from pyro_decomp.modules import buffers_kept, find_modules
from pyro_decomp.program_state import RepeatedRuns
from pyro_decomp.seeds import random_state, set_random_state
from pyro_decomp.sites import SampleTrace, is_latent, sample_sites
from pyro_decomp.traces import TracePair

Program = Callable[..., Any]


@dataclass(frozen=True)
class Estimate:
    """One evaluation of an objective on one batch; scalars in nats per datum, with gradients.

    Attributes:
        terms: Every term, unweighted, by name.
        objective: What is maximised, the weighted sum of the terms.
        elbo: The plain evidence lower bound of the same batch, all weights neutral.
        num_data: N, the full size of the data plate.
        pairs: The traces behind it, one pair a particle.
    """

    terms: Mapping[str, Tensor]
    objective: Tensor
    elbo: Tensor
    num_data: int
    pairs: tuple[TracePair, ...]

    @property
    def loss(self) -> Tensor:
        """What Pyro's SVI minimises: -N times the objective."""
        return -self.num_data * self.objective


class TermsELBO(ELBO):
    r"""An objective that is a weighted sum of named terms, in nats per datum.

    A subclass supplies :meth:`terms` and :meth:`weights`; tracing, particles, plates, the sign and
    Pyro's three loss functions are derived from them here and nowhere else. The plain ELBO,

    .. math:: E_q[log p(x|z)] - KL(q(z|x) || p(z)) - KL(q(g) || p(g)) / N,

    with g the latent sites outside the data plate if there are any, is always among the terms.

    It works in Pyro's ``SVI(model, guide, optim, loss=elbo)``, as a module
    ``elbo(model, guide)(x)`` with a torch optimiser, and in :func:`pyro_decomp.train`. Losses have
    Pyro's scale, a sum over the N data; :meth:`evaluate` has everything per datum.

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
    """

    _found_out_of_programs: ClassVar[frozenset[str]] = frozenset(
        {"kl_methods", "entropy_methods", "_structure", "_prior_checked", "_annealable"}
    )

    def __init__(self, *, num_particles: int = 1, analytic_kl: bool = True) -> None:
        if num_particles < 1:
            raise ValueError(f"num_particles: expected at least 1, got {num_particles}")
        super().__init__(num_particles=num_particles)
        self.analytic_kl = analytic_kl
        self.supervision: float | Tensor = 1.0
        self.kl_methods: dict[str, str] = {}
        self._structure: _Structure | None = None

    @abstractmethod
    def weights(self) -> dict[str, float | Tensor]:
        """The weight of every term in the objective that is maximised; 0 only logs it."""

    def terms(self, traces: TracePair) -> dict[str, Tensor]:
        """Named, unweighted scalars in nats per datum; a subclass adds its own to these.

        ``log_likelihood``
            E_q[log p(x|z)], summed over all observed sites.
        ``kl``
            KL(q(z|x) || p(z)), summed over the latent sites of a datum.
        ``global_kl``
            KL(q(g) || p(g)) / N; only if there are latent sites outside the data plate.
        ``supervision``
            E[log q(y|x)] of labels, 0 for data without; only if the guide observes a site.
        """
        terms = {
            "log_likelihood": traces.log_likelihood().mean()
            + traces.global_log_likelihood() / traces.num_data,
            "kl": traces.total_kl().mean(),
        }
        outside = (*traces.global_latents, *traces.global_auxiliaries)
        if outside:
            global_kl = _total(traces.kl(name) for name in outside)
            terms["global_kl"] = global_kl / traces.num_data
        if traces.labels:
            terms["supervision"] = traces.supervision().mean()
        return terms

    def of_means(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add terms that are functions of other terms' means over batch and particles."""
        return terms

    def trace_pairs(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Iterator[TracePair]:
        """Run the guide and the model once a particle.

        Raises:
            ModelError: The pair or the batch is not something the objective can score.
        """
        yield from self._pairs(model, guide, args, kwargs, is_drawn=False)

    def drawn_pair(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> TracePair:
        """Run the guide and the model once, the guide's discrete sites drawn and not summed over.

        Raises:
            ModelError: The pair or the batch is not something the objective can score.
        """
        return next(self._pairs(model, guide, args, kwargs, is_drawn=True))

    def _pairs(
        self, model: Program, guide: Program, args: Any, kwargs: Any, *, is_drawn: bool
    ) -> Iterator[TracePair]:
        for _ in range(self.num_particles):
            structure, model_trace, guide_trace = self._run(model, guide, args, kwargs, is_drawn)
            runs = structure.runs
            yield TracePair(
                model_trace,
                guide_trace,
                partial(runs.again(model, "model"), *args, **kwargs),
                guide_program=runs.again(guide, "guide"),
                guide_arguments=(args, kwargs),
                use_analytic_kl=self.analytic_kl,
                guide_dependencies=structure.guide_dependencies,
                conditioned_on=structure.conditioned_on,
                enumeration=structure.enumeration,
                memory=structure.memory,
            )

    def evaluate(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Estimate:
        """Run the guide and the model once a particle and weigh the terms.

        Raises:
            ModelError: The pair or the batch is not something the objective can score.
        """
        pairs = tuple(self.trace_pairs(model, guide, *args, **kwargs))
        totals: dict[str, Tensor] = {}
        for pair in pairs:
            for name, value in self.terms(pair).items():
                totals[name] = totals[name] + value if name in totals else value
        terms = self.of_means({name: value / self.num_particles for name, value in totals.items()})
        self.kl_methods = pairs[-1].kl_methods
        weights = {"supervision": self.supervision} | self.weights()
        if missing := terms.keys() - weights.keys():
            raise TypeError(
                f"{type(self).__name__}.weights(): expected a weight for every term, got none for "
                f"{', '.join(sorted(missing))} (0 only logs it)"
            )
        objective = _total(weights[n] * value for n, value in terms.items() if _counts(weights[n]))
        elbo = terms["log_likelihood"] - terms["kl"] - terms.get("global_kl", 0.0)
        return Estimate(terms, objective, elbo, pairs[-1].num_data, pairs)

    def differentiable_loss(
        self, model: Program, guide: Program, *args: Any, **kwargs: Any
    ) -> Tensor:
        """-N times the objective, with gradients."""
        return self.evaluate(model, guide, *args, **kwargs).loss

    def loss(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """-N times the objective, without gradients."""
        with torch.no_grad():
            loss = self.differentiable_loss(model, guide, *args, **kwargs)
        warn_if_nan(loss, "loss")
        return float(torch_item(loss))

    def loss_and_grads(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> float:
        """-N times the objective; adds its gradients to every parameter's ``grad``."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward(retain_graph=self.retain_graph)
        warn_if_nan(loss, "loss")
        return float(torch_item(loss))

    def __call__(self, model: Program, guide: Program) -> ELBOModule:
        """The objective as a module whose ``forward(x)`` is the loss.

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
    ) -> tuple["_Structure", poutine.Trace, poutine.Trace]:
        """The structure of the two programs, checked when it is first seen, and their traces."""
        known = self._structure
        if known is None or (known.model, known.guide) != (model, guide):
            known = None
        runs = RepeatedRuns(model, guide) if known is None else known.runs
        traced, look = partial(_trace, runs=runs), partial(_Structure.of, runs=runs)
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
            if known.names != _names(*traces):
                known = self._structure = look(model, guide, traces, args, kwargs)
            if not known.enumeration:
                return known, *traces
        if is_drawn:
            known = replace(known, enumeration=known.enumeration.without_guide())
        traces = _trace_enumerated(known, args, kwargs)
        if known.names != _names(*traces):  # other sites than before: look again
            runs.put_back()
            drawn = traced(model, guide, args, kwargs)
            known = self._structure = look(model, guide, drawn, args, kwargs)
            runs.put_back()
            traces = _trace_enumerated(known, args, kwargs)
            if known.names != _names(*traces):
                changed = {*known.names} ^ {*_names(*traces)}
                raise ModelError(
                    f"the programs have other sites in every run ({', '.join(sorted(changed))}): "
                    "expected the same where discrete sites are summed over"
                )
        return known, *traces


@dataclass(frozen=True)
class _Structure:
    """What is known of two programs from one run of both.

    Attributes:
        model: The model.
        guide: The guide.
        names: Their sites.
        guide_dependencies: Latent site of the guide to the others that it depends on.
        conditioned_on: Labels that latent sites of the model depend on.
        enumeration: The discrete sites that are summed over.
        runs: Where their runs began.
        memory: What is found out later, once, of the same programs.
    """

    _is_memory_of_programs: ClassVar[bool] = True
    model: Program
    guide: Program
    names: tuple[str, ...]
    guide_dependencies: dict[str, set[str]]
    conditioned_on: tuple[str, ...]
    enumeration: Enumeration
    runs: RepeatedRuns
    memory: dict[str, bool] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Program,
        guide: Program,
        traces: tuple[poutine.Trace, poutine.Trace],
        args: Any,
        kwargs: Any,
        *,
        runs: RepeatedRuns,
    ) -> "_Structure":
        model_trace, guide_trace = traces
        preflight.check(model_trace, guide_trace)
        latent = {site["name"] for site in sample_sites(guide_trace) if is_latent(site)}
        of_guide = dependencies(guide, guide_trace, *args, **kwargs)
        labels = _labels(model_trace, guide_trace)
        if labels:
            replayed = poutine.replay(model, trace=guide_trace)
            of_model = dependencies(replayed, model_trace, *args, **kwargs)
            above = set().union(*(ancestors(name, of_model) for name in latent))
            labels = tuple(name for name in labels if name in above)
        return cls(
            model,
            guide,
            _names(*traces),
            {name: parents & latent for name, parents in of_guide.items()},
            labels,
            Enumeration.of(model_trace, guide_trace),
            runs,
        )


def _labels(model: poutine.Trace, guide: poutine.Trace) -> tuple[str, ...]:
    """Observed sites of the model that are discrete, or observed in the guide too."""
    in_guide = {site["name"] for site in sample_sites(guide)}
    return tuple(
        site["name"]
        for site in sample_sites(model)
        if site["is_observed"] and (site["name"] in in_guide or site["fn"].has_enumerate_support)
    )


def _trace(
    model: Program, guide: Program, args: Any, kwargs: Any, *, runs: RepeatedRuns
) -> tuple[poutine.Trace, poutine.Trace]:
    try:
        runs.begin("guide")
        guide_trace = SampleTrace()(guide).get_trace(*args, **kwargs)
        runs.begin("model")
        replayed = poutine.replay(model, trace=guide_trace)
        model_trace = SampleTrace()(replayed).get_trace(*args, **kwargs)
        runs.end()
        return model_trace, guide_trace
    except ValueError as error:
        if "Shape mismatch inside plate" not in str(error):
            raise
        found = str(error).splitlines()[0]  # a table of all shapes follows
        raise ModelError(
            f"{found[0].lower()}{found[1:]}: declare the dimensions of one datum as "
            "event dimensions with .to_event(), so that only the data are a batch"
        ) from error


def _trace_enumerated(
    structure: "_Structure", args: Any, kwargs: Any
) -> tuple[poutine.Trace, poutine.Trace]:
    enumeration = structure.enumeration
    try:
        model, guide = enumeration.wrapped(structure.model, structure.guide)
        return _trace(model, guide, args, kwargs, runs=structure.runs)
    except (RuntimeError, ValueError, IndexError) as error:
        if isinstance(error, ModelError) or not enumeration:
            raise
        names = ", ".join(map(repr, sorted(enumeration.guide | enumeration.model)))
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"the programs cannot be run with all values of {names} at once: {reason} (each "
            "discrete site has its values along a dimension to the left of the plates; expected "
            "code that broadcasts over it, such as Vindex(locs)[c] or torch.broadcast_tensors)"
        ) from error


def _names(model: poutine.Trace, guide: poutine.Trace) -> tuple[str, ...]:
    return tuple(site["name"] for trace in (guide, model) for site in sample_sites(trace))


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
