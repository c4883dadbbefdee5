"""What is known of a model and a guide from one run of both; further runs of them (internal)."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import wraps
from itertools import chain
from typing import Any, ClassVar, Literal

from pyro import poutine
from torch import Tensor, nn

from pyro_decomp.errors import ModelError
from pyro_decomp.programs import preflight
from pyro_decomp.programs.automatic_guides import LocalGuides, explain
from pyro_decomp.programs.enumeration import Enumeration
from pyro_decomp.programs.program_state import Fingerprint, ProgramState, Snapshot
from pyro_decomp.programs.program_state.modules import find_modules
from pyro_decomp.programs.provenance import dependencies
from pyro_decomp.programs.sites import SampleTrace, is_latent, missing_values, sample_sites

Program = Callable[..., Any]
Traces = tuple[poutine.Trace, poutine.Trace]
Role = Literal["model", "guide"]
QUIET_RUNS = 2  # after the first, which may fill caches


class RepeatedRuns:
    """The state in which a model and a guide began a run, for others that must begin in it too.

    Samples of the prior and densities of other data's codes need further runs of the programs in
    the same step. They begin as the step's own run did, and leave the state as that left it. Of
    programs that move nothing in a few runs this costs nothing from then on.
    """

    _is_memory_of_programs = True

    def __init__(self, model: Program, guide: Program) -> None:
        self.networks = find_modules([model, guide])
        self.state = ProgramState(self.networks, model=model, guide=guide)
        self._began: dict[Role, Snapshot] = {}
        self._before: Fingerprint | None = None
        self._num_runs = 0
        self._is_moving = False

    def begin(self, role: Role) -> None:
        """Say that the program is about to be run for the step."""
        if not self._is_moving and self._num_runs > QUIET_RUNS:
            self._began.clear()
            return
        self._began[role] = self.state.keep()
        if role == "guide" and not self._is_moving:
            self._before = self.state.fingerprint()

    def stop_watching(self) -> None:
        """Say that runs are known to move nothing, so that none is watched from now on."""
        self._num_runs = QUIET_RUNS + 1

    def end(self) -> None:
        """Say that model and guide were run."""
        if self._before is not None and self._num_runs > 0:
            self._is_moving = self._before != self.state.fingerprint()
        self._before = None
        self._num_runs += 1

    def put_back(self) -> None:
        """Make everything as it was when the last run for the step began."""
        if "guide" in self._began:
            self.state.put_back(self._began["guide"])

    def again(self, program: Program, role: Role) -> Program:
        """The program, for further runs that begin as its last one for the step did.

        Whether networks train or are evaluated is as whoever runs it has it.
        """
        began = self._began.get(role)
        if began is None:
            return program

        @wraps(program, updated=())
        def run(*args: Any, **kwargs: Any) -> Any:
            after, modes = self.state.keep(), self._modes()
            self.state.put_back(began)
            for part, mode in modes:
                part.training = mode
            try:
                return program(*args, **kwargs)
            finally:
                self.state.put_back(after)

        return run

    def _modes(self) -> list[tuple[nn.Module, bool]]:
        parts = chain.from_iterable(network.modules() for network in self.networks)
        return [(part, part.training) for part in parts]


@dataclass(frozen=True)
class ProgramStructure:
    """What is known of two programs from one run of both.

    Attributes:
        model: The model.
        guide: The guide.
        kinds: Which arguments they took.
        names: Their sites.
        guide_dependencies: Latent site of the guide to the others that it depends on.
        enumeration: The discrete sites that are summed over.
        runs: Where their runs began.
        local_guides: Automatic guides of sites inside the data plate.
        memory: What is found out later, once, of the same programs.
    """

    _is_memory_of_programs: ClassVar[bool] = True
    model: Program
    guide: Program
    kinds: tuple[Any, ...]
    names: tuple[str, ...]
    guide_dependencies: dict[str, set[str]]
    enumeration: Enumeration
    runs: RepeatedRuns
    local_guides: LocalGuides
    memory: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Program,
        guide: Program,
        traces: Traces,
        args: Any,
        kwargs: Any,
        *,
        runs: RepeatedRuns,
    ) -> "ProgramStructure":
        """Look at two programs that were run, and check them.

        Raises:
            ModelError: They are not a pair that an objective can score.
        """
        model_trace, guide_trace = traces
        try:
            preflight.check(model_trace, guide_trace)
        except ModelError as error:
            if explanation := explain(guide, str(error).partition(":")[0]):
                raise ModelError(explanation) from error
            raise
        latent = {site["name"] for site in sample_sites(guide_trace) if is_latent(site)}
        of_guide = dependencies(guide, guide_trace, *args, **kwargs)
        if missing_values(model_trace) - set(guide_trace.nodes):
            replayed = poutine.replay(model, trace=guide_trace)
            of_model = dependencies(replayed, model_trace, *args, **kwargs)
            preflight.check_missing_values(model_trace, guide_trace, of_model)
        return cls(
            model,
            guide,
            _kinds(args, kwargs),
            _names(*traces),
            {name: parents & latent for name, parents in of_guide.items()},
            Enumeration.of(model_trace, guide_trace),
            runs,
            LocalGuides.of(guide, model_trace, args, kwargs),
        )

    def with_guide(self, guide: Program) -> "ProgramStructure":
        """The structure with another guide of the same sites, none of which depends on another.

        Nor does that guide have parameters for certain data.
        """
        return replace(self, guide=guide, guide_dependencies={}, local_guides=LocalGuides({}))

    def is_of(self, model: Program, guide: Program, args: Any, kwargs: Any) -> bool:
        """Whether this is the structure of these programs, with arguments of these kinds."""
        return (self.model, self.guide, self.kinds) == (model, guide, _kinds(args, kwargs))

    def has_sites_of(self, traces: Traces) -> bool:
        """Whether traces of the programs have the sites that they had."""
        return self.names == _names(*traces)

    def require_sites_of(self, traces: Traces) -> None:
        """Refuse programs that have other sites in every run.

        Raises:
            ModelError: Traces of the programs have other sites than they had.
        """
        if not self.has_sites_of(traces):
            changed = {*self.names} ^ {*_names(*traces)}
            raise ModelError(
                f"the programs have other sites in every run ({', '.join(sorted(changed))}): "
                "expected the same where discrete sites are summed over"
            )

    def trace(self, args: Any, kwargs: Any) -> Traces:
        """Run the programs with all values of the discrete sites that are summed over.

        Raises:
            ModelError: They cannot be run with all these values at once.
        """
        enumeration = self.enumeration
        try:
            model, guide = enumeration.wrapped(self.model, self.guide)
            return trace(model, guide, args, kwargs, runs=self.runs)
        except (RuntimeError, ValueError, IndexError) as error:
            if isinstance(error, ModelError) or not enumeration:
                raise
            names = ", ".join(map(repr, sorted(enumeration.guide | enumeration.model)))
            reason = str(error).strip().splitlines()[0]
            raise ModelError(
                f"the programs cannot be run with all values of {names} at once: {reason} (each "
                "discrete site has its values along a dimension to the left of the plates; "
                "expected code that broadcasts over it, such as Vindex(locs)[c] or "
                "torch.broadcast_tensors)"
            ) from error


def trace(model: Program, guide: Program, args: Any, kwargs: Any, *, runs: RepeatedRuns) -> Traces:
    """Run a guide, and a model replayed against it.

    Args:
        model: The model.
        guide: The guide.
        args: What both take.
        kwargs: The same, by name.
        runs: Is told where the runs begin.

    Returns:
        The model's trace and the guide's.

    Raises:
        ModelError: Shapes do not fit the data plate.
    """
    try:
        runs.begin("guide")
        guide_trace = SampleTrace()(guide).get_trace(*args, **kwargs)
        if any("prior" in site["infer"] for site in sample_sites(guide_trace)):
            # One of Pyro's effect guides, which runs the model: what is observed is the model's.
            for observed in [s["name"] for s in sample_sites(guide_trace) if s["is_observed"]]:
                guide_trace.remove_node(observed)
        runs.begin("model")
        replayed = poutine.replay(model, trace=guide_trace)
        model_trace = SampleTrace()(replayed).get_trace(*args, **kwargs)
        runs.end()
        return model_trace, guide_trace
    except (ValueError, IndexError, RuntimeError) as error:
        found = str(error).partition("\n")[0]  # a table of all shapes may follow
        if explanation := explain(guide, found):
            raise ModelError(explanation) from error
        if "Shape mismatch inside plate" not in found:
            raise
        raise ModelError(
            f"{found[0].lower()}{found[1:]}: expected one for each datum of the batch; declare the "
            "dimensions of one datum as event dimensions with .to_event(), and where a parameter "
            "has a row for every datum of the set, take the rows of this batch"
        ) from error


def _names(model: poutine.Trace, guide: poutine.Trace) -> tuple[str, ...]:
    return tuple(site["name"] for site in (*sample_sites(guide), *sample_sites(model)))


def _kinds(args: Any, kwargs: Any) -> tuple[Any, ...]:
    """The arguments as far as programs may choose by them: tensors are all alike."""

    def kind(given: Any) -> Any:
        if isinstance(given, Tensor):
            return Tensor
        return given if isinstance(given, bool | str | None) else type(given)

    return *map(kind, args), *((name, kind(given)) for name, given in kwargs.items())
