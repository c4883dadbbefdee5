"""What the density of each latent site in a model is computed from (internal)."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.subsample_messenger import _Subsample
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_map_only

from pyro_decomp.distributions.densities import unmasked
from pyro_decomp.programs.enumeration import unlabelled
from pyro_decomp.programs.program_state import preserving_rng_and_buffers
from pyro_decomp.programs.program_state.modules import find_modules, in_mode
from pyro_decomp.programs.provenance import Provenance
from pyro_decomp.programs.sites import Site, is_latent, sample_sites
from pyro_decomp.programs.substitute import Substitute

Program = Callable[..., Any]

PLACE = "its place in the batch"


@dataclass(frozen=True)
class PriorInputs:
    """What the prior of a model is computed from.

    Attributes:
        labels: Observed discrete sites that a latent site's density is computed from. They are
            drawn and summed over where p(z) is meant.
        sites: For each site as far as the last latent one, the other random sites of the datum that
            its density is computed from.
        data: For each site, what of the datum its density is computed from: arguments and observed
            sites, as words.
    """

    labels: tuple[str, ...] = ()
    sites: Mapping[str, frozenset[str]] = field(default_factory=dict)
    data: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @property
    def given(self) -> frozenset[str]:
        """What of a datum its prior is given; nothing where one prior is that of all data."""
        return frozenset().union(*self.data.values())


def prior_inputs(
    model: Program,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    trace: poutine.Trace,
    plate: CondIndepStackFrame,
    sites: tuple[Sequence[str], Mapping[str, Tensor]],
) -> PriorInputs:
    """Find out what the prior is computed from, by running it once (twice where there are labels).

    It is run once more where networks have a row for each datum of the batch, with other numbers
    in them: a table that is the same in all rows at first is not to pass for one prior of all data.

    Every operation tells what it passes on of its arguments to its results. Operations that take
    only a shape, such as ``x.new_zeros(2)``, pass nothing on. What programs take from elsewhere,
    such as a tensor of the module that made them, is seen too if it tells the data of this batch
    apart: all of them are scored at one and the same code. Networks are run as in evaluation,
    without dropout; random generators and buffers stay as they were.

    Args:
        model: The model.
        args: What it takes.
        kwargs: The same, by name.
        trace: A trace of it.
        plate: The data plate.
        sites: The latent sites of a datum, and values of these and of those that all data share.

    Returns:
        The names of what each latent site is computed from.
    """
    local, values = sites
    if not local:
        return PriorInputs()
    discrete = {
        site["name"]
        for site in sample_sites(trace)
        if site["is_observed"] and site["fn"].has_enumerate_support and _is_in(plate, site)
    }

    def found(labels: tuple[str, ...], *, moved: bool = False) -> "_AtOneCode":
        program, provenance = unlabelled(model, labels), Provenance()
        named = _by_name(model, args, kwargs)
        copies = [_named_copy(each, word, provenance) for word, each in named]
        recorder = _AtOneCode(local, values, plate, provenance, moves_tables=moved)
        with provenance, poutine.block(), recorder:
            program(*copies[: len(args)], **dict(zip(kwargs, copies[len(args) :], strict=True)))
        return recorder

    modules = find_modules([model])
    unseen = _disable_current_modes()  # what records a step is not to record this
    unchecked = pyro.validation_enabled(False)
    with (
        unseen,
        in_mode(modules, training=False),
        preserving_rng_and_buffers([model]),
        torch.no_grad(),
        unchecked,
    ):
        seen = found(())
        observed = frozenset().union(*seen.names.values()) & discrete
        labels = tuple(name for name in trace.nodes if name in observed)
        if labels:
            seen = found(labels)
        if any(not names - set(seen.names) for names in seen.names.values()):
            with _tables_moved(modules, plate.size) as are_tables:
                other = found(labels, moved=True) if are_tables or seen.sees_tables else seen
            seen.names = {n: names | other.names.get(n, names) for n, names in seen.names.items()}
    drawn = set(seen.names)
    return PriorInputs(
        labels,
        {name: (names & drawn) - {name} for name, names in seen.names.items()},
        {name: names - drawn for name, names in seen.names.items()},
    )


@contextmanager
def _tables_moved(modules: list[nn.Module], size: int) -> Iterator[bool]:
    """Put other numbers into parameters with so many rows or columns; whether there are any."""
    parts = {part for module in modules for part in module.modules()}
    kept = [
        (part, name, parameter)
        for part in parts
        for name, parameter in part._parameters.items()
        if parameter is not None and size in parameter.shape
    ]
    try:
        for part, name, parameter in kept:
            part._parameters[name] = nn.Parameter(parameter + torch.rand_like(parameter))
        yield bool(kept)
    finally:
        for part, name, parameter in kept:
            part._parameters[name] = parameter


class _AtOneCode(Substitute):
    """Gives all data the code of the first, and notes what the density of every site comes from."""

    def __init__(
        self,
        latents: Sequence[str],
        values: Mapping[str, Tensor],
        plate: CondIndepStackFrame,
        provenance: Provenance,
        *,
        moves_tables: bool,
    ) -> None:
        super().__init__(self._given, until=latents)
        self._moves_tables = moves_tables
        self.sees_tables = False
        self._values = values
        self._plate = plate
        self._provenance = provenance
        self.names: dict[str, frozenset[str]] = {}

    def _given(self, msg: Site) -> Tensor | None:
        if not is_latent(msg) or msg["done"]:
            return None
        name, fn = msg["name"], msg["fn"]
        value = self._values.get(name)
        if value is None or value.shape != fn.shape():  # one that is enumerated has all its values
            value = fn.sample()
        if _is_in(self._plate, msg):
            axis = self._plate.dim - len(fn.event_shape)
            if value.dim() >= -axis:
                value = value.narrow(axis, 0, 1).expand(value.shape)
            value = value.clone()
            self._provenance.set(value, {name})
        return value

    def _pyro_post_param(self, msg: Any) -> None:
        if isinstance(msg["value"], Tensor) and self._plate.size in msg["value"].shape:
            self.sees_tables = True
            if self._moves_tables:
                msg["value"] = msg["value"] + torch.rand_like(msg["value"])

    def _pyro_post_sample(self, msg: Any) -> None:
        name, value = msg["name"], msg["value"]
        if type(msg["fn"]) is _Subsample:
            of_data = name == self._plate.name and isinstance(value, Tensor)
            if of_data and not self._provenance.of(value):  # subsample=x makes the data indices
                self._provenance.add(value, {f"the indices of the plate '{name}'"})
        elif msg["infer"].get("_deterministic"):
            return
        elif msg["is_observed"]:
            if isinstance(value, Tensor):
                self._provenance.add(value, {name})
        elif _is_in(self._plate, msg) and not msg["infer"].get("is_auxiliary"):
            log_prob = unmasked(msg["fn"]).log_prob(value)
            names = self._provenance.of(log_prob)
            if not names - set(self.names) - {name} and self._differs(log_prob):
                names |= {PLACE}
            self.names[name] = names
            self._waiting.discard(name)
            if not self._waiting:
                self.leave()

    def _differs(self, log_prob: Tensor) -> bool:
        """Whether data of one code have other densities."""
        if log_prob.dim() < -self._plate.dim:
            return False
        first = log_prob.narrow(self._plate.dim, 0, 1)
        return not torch.allclose(log_prob, first, rtol=1e-4, atol=1e-4, equal_nan=True)


def _is_in(plate: CondIndepStackFrame, site: Site) -> bool:
    return any(frame.name == plate.name for frame in site["cond_indep_stack"])


def _by_name(
    program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """What a program is given, by the names that it has for it."""
    try:
        names = list(inspect.signature(program).parameters)
    except (TypeError, ValueError):
        names = []
    names += [str(place + 1) for place in range(len(names), len(args))]
    return [*zip(names, args, strict=False), *kwargs.items()]


def _named_copy(given: Any, word: str, provenance: Provenance) -> Any:
    def copied(tensor: Tensor) -> Tensor:
        copy = tensor.detach().clone()
        provenance.set(copy, {f"the argument '{word}'"})
        return copy

    return tree_map_only(Tensor, copied, given)
