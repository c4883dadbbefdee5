"""The random sites of a trace, and what one of them says by itself (internal)."""

from collections.abc import Callable
from typing import Any

from pyro import poutine
from pyro.distributions import Distribution
from pyro.poutine.indep_messenger import CondIndepStackFrame
from pyro.poutine.subsample_messenger import _Subsample
from pyro.poutine.trace_messenger import TraceHandler, TraceMessenger
from pyro.poutine.util import site_is_subsample

from pyro_decomp.errors import DecompError, ModelError

DATA_PLATE = "data"

Site = dict[str, Any]


class SampleTrace(TraceMessenger):
    """A trace of sample sites; parameters pass through it to whoever records them outside.

    Raises:
        ModelError: A site is not given a distribution.
    """

    records_parameters = False

    def __call__(self, fn: Callable[..., Any]) -> TraceHandler:
        """Wrap a program so that its runs are traced."""
        return _Handler(self, fn)

    def _pyro_sample(self, msg: Any) -> None:
        if not isinstance(msg["fn"], Distribution):
            kind = type(msg["fn"])
            told = f"{kind.__module__}.{kind.__name__}".removeprefix("builtins.")
            raise ModelError(
                f"site '{msg['name']}' is given a {told} in the place of a distribution: expected "
                "one of pyro.distributions, such as dist.Normal(loc, scale).to_event(1)"
            )

    def _pyro_post_param(self, msg: Any) -> None:
        pass


class _Handler(TraceHandler):
    """Leaves the sentence of an error as it is, to which Pyro would add the shapes of all sites."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except DecompError as error:
            raise type(error)(str(error).partition("\nTrace Shapes:")[0]) from error


def sample_sites(trace: poutine.Trace) -> list[Site]:
    """The random sites of a trace: neither subsampling by plates nor ``pyro.deterministic``."""
    drawn = [site for site in trace.nodes.values() if site["type"] == "sample"]
    return [
        site
        for site in drawn
        if type(site["fn"]) is not _Subsample and not site["infer"].get("_deterministic")
    ]


def is_latent(msg: Any) -> bool:
    """Whether a site is drawn: neither observed nor a plate's indices nor deterministic."""
    fixed = msg["is_observed"] or site_is_subsample(msg) or msg["infer"].get("_deterministic")
    return not fixed


def missing_values(model: poutine.Trace) -> set[str]:
    """Sites that stand for what is missing of an observed site, and have a density.

    With ``obs_mask=`` Pyro makes two sites of "x", "x_observed" and "x_unobserved". Where nothing
    depends on the second it integrates to one, and belongs to neither the latents nor the data.
    A discrete one with finitely many values is a label, which is inferred, and is not among these.
    """
    names = {site["name"]: site for site in sample_sites(model)}
    pairs = ((name, f"{name.removesuffix('_unobserved')}_observed") for name in names)
    return {
        name
        for name, observed in pairs
        if observed in names
        and names[observed]["is_observed"]
        and name != observed
        and is_latent(names[name])
        and not names[name]["fn"].has_enumerate_support
    }


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


def plate_dims(site: Site) -> set[int]:
    """The (negative) batch dimensions that plates take at a site."""
    return {frame.dim for frame in site["cond_indep_stack"] if frame.vectorized}
