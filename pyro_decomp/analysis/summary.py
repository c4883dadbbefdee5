"""What an experiment runs, resolved: sites, distributions, parameters and what depends on what."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal

import torch
from pyro import poutine
from pyro.distributions import Distribution
from torch import Tensor, nn
from torch.distributions import (
    MixtureSameFamily,
    TransformedDistribution,
)

from pyro_decomp import arguments
from pyro_decomp.analysis.inference import global_latents, local_latents
from pyro_decomp.descriptions import shortened
from pyro_decomp.distributions.densities import unwrapped
from pyro_decomp.divergences.base import Divergence, WeightedSum
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.programs.enumeration import Enumeration
from pyro_decomp.programs.provenance import dependencies
from pyro_decomp.programs.sites import Site, data_plate, sample_sites
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.state import State
from pyro_decomp.training.user_code import memory_counted

Role = Literal["latent", "observed", "global", "auxiliary", "label", "summed out"]


@dataclass(frozen=True)
class SiteSummary:
    """One random site of a program.

    Attributes:
        name: Its name.
        role: "latent", "observed", "global" (latent, outside the data plate), "auxiliary" (of the
            guide alone), "label" (observed in the guide too) or "summed out" (discrete).
        distribution: Its family, as :func:`describe` writes it.
        shape: The shape of one datum's value: other plates, then event dimensions.
        depends_on: The latent sites that its distribution depends on.
    """

    name: str
    role: Role
    distribution: str
    shape: tuple[int, ...]
    depends_on: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class Summary:
    """What an experiment runs.

    Attributes:
        num_data: N, with which the data plate is opened.
        batch_size: B, of a step.
        datum_shapes: The shape of one datum in each tensor that the programs take.
        model: The model's sites, in order.
        guide: The guide's sites, in order.
        is_structured: Whether latent sites of a datum depend on one another in the guide.
        kl: Latent site to "analytic" or "Monte Carlo", how its KL to the prior is estimated.
        parameters: Each network, or parameter of its own, to how many numbers of it are trained.
        objective: The objective's class.
        divergence: The class of its D(q(z), p(z)), "" if it has none.
        weights: Every term to its weight, where that is not 0, at the first step.
        schedules: The numbers that change from step to step.
        ranges: Each of them to its value at the first step and at the last.
    """

    num_data: int
    batch_size: int
    datum_shapes: tuple[tuple[int, ...], ...]
    model: tuple[SiteSummary, ...]
    guide: tuple[SiteSummary, ...]
    is_structured: bool
    kl: Mapping[str, str]
    parameters: Mapping[str, int]
    objective: str
    divergence: str
    weights: Mapping[str, float]
    schedules: tuple[str, ...]
    ranges: Mapping[str, tuple[float, float]]

    def __repr__(self) -> str:
        sites = ", ".join(site.name for site in self.model)
        numbers = f"{self.num_data} data, {sum(self.parameters.values())} parameters"
        return shortened(f"Summary({self.objective} of {sites}: {numbers})")

    def __str__(self) -> str:
        parts = (f"{each.name}={getattr(self, each.name)!r}" for each in fields(self))
        return f"Summary({', '.join(parts)})"

    @property
    def prior(self) -> tuple[SiteSummary, ...]:
        """The model's sites that are not observed."""
        return tuple(site for site in self.model if site.role not in {"observed", "label"})


@memory_counted()
def summarize(experiment: Experiment, state: State) -> Summary:
    """Run a batch of an experiment that was prepared, to look at it; nothing of it is changed.

    Args:
        experiment: What is run.
        state: What :func:`pyro_decomp.training.state.prepare` found of it; ``run.state`` of a run.

    Returns:
        The sites, distributions, parameters and numbers of the objective.
    """
    arguments.annotated(summarize, locals())
    data = experiment.data
    size = min(experiment.batch_size or len(data), len(data))
    batch = data[:size]
    with state.program.preserving_rng_and_buffers(), torch.no_grad():
        guide = poutine.trace(experiment.guide).get_trace(*batch)
        replayed = poutine.replay(experiment.model, trace=guide)
        model = poutine.trace(replayed).get_trace(*batch)
        of_guide = dependencies(experiment.guide, guide, *batch)
        of_model = dependencies(experiment.model, model, *batch)
    in_guide = _sites(guide, of_guide, model, guide)
    outside = set(global_latents(guide))
    in_model = _sites(model, of_model, model, guide)
    return Summary(
        num_data=len(data),
        batch_size=size,
        datum_shapes=tuple(data.shapes),
        model=in_model,
        guide=in_guide,
        is_structured=any(of_guide[name] - outside for name in local_latents(guide)),
        kl=dict(state.kl_methods),
        parameters=count_parameters(experiment, state),
        objective=type(getattr(experiment.elbo, "objective", experiment.elbo)).__name__,
        divergence=_divergence(getattr(experiment.elbo, "divergence", None)),
        weights=_weights(experiment.elbo, {site.role for site in (*in_guide, *in_model)}),
        schedules=tuple(experiment.schedules),
        ranges=experiment.scheduled_ranges(),
    )


def describe(fn: Distribution) -> str:
    """A distribution's family, with what is inside of it.

    >>> import pyro.distributions as dist
    >>> parts = dist.Normal(torch.zeros(4, 2), 1.0).to_event(1)
    >>> describe(dist.MixtureSameFamily(dist.Categorical(torch.ones(4)), parts))
    'mixture of 4 Normal'
    >>> describe(dist.TransformedDistribution(parts, [dist.transforms.ExpTransform()]))
    'Normal > ExpTransform'
    """
    base = unwrapped(fn)
    if isinstance(base, MixtureSameFamily):
        count = base.mixture_distribution.param_shape[-1]
        return f"mixture of {count} {describe(base.component_distribution)}"
    if type(base).__name__ == TransformedDistribution.__name__:  # LogNormal has a name of its own
        transforms = [type(each).__name__ for each in base.transforms]
        return " > ".join([describe(base.base_dist), *transforms])
    return type(base).__name__


def _sites(
    trace: poutine.Trace,
    parents: Mapping[str, set[str]],
    model: poutine.Trace,
    guide: poutine.Trace,
) -> tuple[SiteSummary, ...]:
    plate = data_plate(model).name
    summed_out = Enumeration.of(model, guide).model
    return tuple(
        SiteSummary(
            name=site["name"],
            role="summed out" if site["name"] in summed_out else _role(site, plate, model, guide),
            distribution=describe(site["fn"]),
            shape=_datum_shape(site, plate),
            depends_on=tuple(sorted(parents[site["name"]])),
        )
        for site in sample_sites(trace)
    )


def _role(site: Site, plate: str, model: poutine.Trace, guide: poutine.Trace) -> Role:
    name = site["name"]
    if site["is_observed"]:
        return "label" if name in guide.nodes else "observed"
    if name not in model.nodes:
        return "auxiliary"
    is_local = any(frame.name == plate for frame in site["cond_indep_stack"])
    return "latent" if is_local else "global"


def _datum_shape(site: Site, plate: str) -> tuple[int, ...]:
    inside = [f for f in site["cond_indep_stack"] if f.vectorized and f.name != plate]
    sizes = [int(frame.size) for frame in sorted(inside, key=lambda frame: int(frame.dim))]
    return (*sizes, *site["fn"].event_shape)


def _divergence(divergence: Divergence | None) -> str:
    if isinstance(divergence, WeightedSum):
        return " + ".join(f"{float(w):g} {_divergence(part)}" for w, part in divergence.parts)
    return "" if divergence is None else type(divergence).__name__


def _weights(elbo: TermsELBO, roles: set[Role]) -> dict[str, float]:
    """The weight of every term that there is."""
    needs = {"global_kl": "global", "supervision": "label"}
    weights = {"supervision": elbo.supervision} | elbo.weights()
    kept = {n: float(w) for n, w in weights.items() if needs.get(n) in {None, *roles}}
    return {name: weight for name, weight in kept.items() if weight}


def count_parameters(experiment: Experiment, state: State) -> dict[str, int]:
    """Each network, or parameter of its own, to how many numbers of it are trained.

    What two networks share is counted in the first alone. A network has the name of the attribute
    or variable by which the programs know it, and its class.
    """
    trained = list(state.parameters.values())
    trained += [p for a in experiment.auxiliaries.values() for p in a.module.parameters()]
    waiting = {id(parameter) for parameter in trained}
    counts: dict[str, int] = {}
    for name, parameters in _named_parameters(experiment, state):
        found = [parameter for parameter in parameters if id(parameter) in waiting]
        waiting -= {id(parameter) for parameter in found}
        if found:
            counts[name] = counts.get(name, 0) + sum(parameter.numel() for parameter in found)
    return counts


def _named_parameters(experiment: Experiment, state: State) -> Iterator[tuple[str, list[Tensor]]]:
    """All parameters with the name to count them under, the best name for each first."""
    named = [*_parts(experiment.model), *_parts(experiment.guide)]
    named += [(name, auxiliary.module) for name, auxiliary in experiment.auxiliaries.items()]
    for name, part in named:
        if isinstance(part, nn.Module):
            yield f"{name} ({type(part).__name__})", list(part.parameters())
        else:
            yield name.removesuffix("_unconstrained"), [part]  # Pyro's, of a constrained one
    for module in state.modules:
        yield type(module).__name__, list(module.parameters())
    for name, parameter in state.parameters.items():
        yield name, [parameter]


def _parts(program: Any) -> Iterator[tuple[str, nn.Module | Tensor]]:
    """The networks and parameters of a program's own, by attribute or variable."""
    program = inspect.unwrap(program)
    owner = getattr(program, "__self__", program)
    variables: dict[str, Any] = {}
    if isinstance(program, partial):  # as a handler of Pyro's makes of a program
        for inner in filter(callable, (program.func, *program.args)):
            yield from _parts(inner)
    elif isinstance(owner, nn.Module):
        variables = dict(owner.named_children()) | dict(owner.named_parameters(recurse=False))
    elif inspect.isfunction(program):
        found = inspect.getclosurevars(program)
        variables = {**found.globals, **found.nonlocals}
    else:
        variables = getattr(owner, "__dict__", {})
    yield from ((n, v) for n, v in variables.items() if isinstance(v, nn.Module | nn.Parameter))
