"""Any of Pyro's own objectives in the trainer, with the plain ELBO's terms beside it."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType
from typing import Any

import torch
from pyro import infer, poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.overrides import TorchFunctionMode

from pyro_decomp import arguments
from pyro_decomp.elbo.base import Estimate, TermsELBO
from pyro_decomp.errors import ModelError
from pyro_decomp.programs.program_state.modules import buffers_kept, find_modules
from pyro_decomp.programs.sites import data_plate, sample_sites
from pyro_decomp.programs.structure import Program, ProgramStructure, Traces
from pyro_decomp.seeds import random_state, set_random_state

JIT = (
    infer.JitTrace_ELBO,
    infer.JitTraceEnum_ELBO,
    infer.JitTraceGraph_ELBO,
    infer.JitTraceMeanField_ELBO,
)


class PyroELBO(TermsELBO):
    r"""An objective of Pyro, such as ``Trace_ELBO()`` or ``RenyiELBO()``, per datum.

    .. math:: L = -\ell / N

    with :math:`\ell` the loss, a sum over all N data, that ``objective.loss_and_grads`` returns.
    The gradient is that of what ``loss_and_grads`` calls ``backward`` on: Pyro's own estimator at
    its own draws.

    Terms: those of the plain ELBO, without gradients; they are no parts of the objective, and
    ``elbo`` is their sum. They are computed at the draws of the objective; where it enumerates
    sites, vectorises particles or traces the programs in a way of its own, at one further draw.

    ``RenyiELBO`` and ``TraceTMC_ELBO`` have sums over particles or values inside of a logarithm. In
    Pyro the densities in these sums are to the power N / B of a minibatch, which is a bound on
    nothing where all latents are a datum's own; here they are not, and N / B multiplies the result.
    With latents outside the data plate they have Pyro's power, as in Li & Turner, "Renyi Divergence
    Variational Inference", 2016, eq. 9 (https://arxiv.org/abs/1602.02311).

    Args:
        objective: Pyro's, or of a class of one's own.

    Raises:
        ArgumentError: It is one of Pyro's ``Jit`` objectives, which are compiled for one model and
            guide; ``ReweightedWakeSleep``, which has two losses; ``TraceTailAdaptive_ELBO``,
            which gives its gradient alone; or of a class of one's own without
            ``loss_and_grads``, or with a ``differentiable_loss`` that Pyro's does not call.
    """

    supervision = 0.0  # of the class: no number of this objective that could be set

    def __init__(self, objective: infer.ELBO) -> None:
        super().__init__()
        del self.supervision
        if isinstance(objective, JIT):
            name = type(objective).__name__
            plain = f"{name.removeprefix('Jit')}(), whose steps are captured where that is faster"
            arguments.refuse("elbo", plain, name)
        if isinstance(objective, infer.ReweightedWakeSleep | infer.TraceTailAdaptive_ELBO):
            one = "an objective whose loss is a number, such as RenyiELBO(num_particles=10)"
            arguments.refuse("elbo", one, type(objective).__name__)
        arguments.instance(
            infer.ELBO, "an objective of Pyro such as Trace_ELBO()", objective=objective
        )
        if _is_without_gradients(type(objective)):
            own = "a class with a loss_and_grads of its own, which is all that training calls"
            arguments.refuse("elbo", own, type(objective).__name__)
        self.objective = objective

    def weights(self) -> dict[str, float | Tensor]:
        """0 for every term: they are beside the objective."""
        return dict.fromkeys((*super().weights(), "supervision"), 0.0)

    def evaluate(self, model: Program, guide: Program, *args: Any, **kwargs: Any) -> Estimate:
        """Compute the given objective with its gradients, and the plain ELBO's terms without.

        Returns:
            The terms, the objective and the plain ELBO.

        Raises:
            ModelError: The pair or the batch is not something that the plain ELBO can score; or
                the objective calls ``backward`` on nothing, or has several losses; or a site has a
                baseline that is no parameter.
        """
        known = self._known(model, guide, args, kwargs)
        with _traces_of(self.objective) as traces, self._powers(known) as of_plate:
            loss = differentiable_loss(self.objective.loss_and_grads, model, guide, args, kwargs)
        of_plate.put_back(traces)
        with torch.no_grad():
            plain = self._plain(traces, known, args, kwargs)
        return replace(plain, objective=-loss * of_plate.factor / plain.total)

    def _plain(
        self, traces: Sequence[Traces], known: ProgramStructure, args: Any, kwargs: Any
    ) -> Estimate:
        """The plain ELBO at the draws in these traces, or at one of its own."""
        if _are_of_single_draws(traces, known, self.objective):
            return self._estimate([self._pair(known, each, args, kwargs) for each in traces])
        with buffers_kept(known.runs.networks):
            estimate = super().evaluate(known.model, known.guide, *args, **kwargs)
        known.runs.put_back()  # a step moves what the programs keep once
        return estimate

    def _known(self, model: Program, guide: Program, args: Any, kwargs: Any) -> ProgramStructure:
        """What is known of the programs, from a run of which nothing stays where nothing is."""
        known = self._structure
        is_known = known is not None and known.is_of(model, guide, args, kwargs)
        if known is None or not is_known or PLATE not in known.memory:
            before = random_state()
            with buffers_kept(find_modules([model, guide])):
                known, *traces = self._run(model, guide, args, kwargs, is_drawn=False)
            known.runs.put_back()
            set_random_state(before)
            _check_baselines(traces[1])
            plate = data_plate(traces[0])
            frames = [site["cond_indep_stack"] for trace in traces for site in sample_sites(trace)]
            is_only = all(any(frame.name == plate.name for frame in each) for each in frames)
            known.memory[PLATE] = plate.name if is_only else ""
        return known

    def _powers(self, known: ProgramStructure) -> "_WithoutScale":
        """A handler under which densities have the powers that the objective is right with."""
        is_linear = not isinstance(self.objective, infer.RenyiELBO | infer.TraceTMC_ELBO)
        return _WithoutScale("" if is_linear else known.memory[PLATE])


def _is_without_gradients(kind: type[infer.ELBO]) -> bool:
    """Whether ``loss_and_grads`` is missing, or Pyro's, which leaves the loss of a user's class."""
    owners = [each for each in kind.__mro__ if {GRADS, LOSS} & vars(each).keys()]
    if not hasattr(kind, GRADS):
        return True
    found = kind.loss_and_grads
    is_older = GRADS not in vars(owners[0]) and found.__module__.startswith("pyro.")
    return is_older and LOSS not in found.__code__.co_names


GRADS, LOSS = "loss_and_grads", "differentiable_loss"
PLATE = "the plate that all sites are in"


class _WithoutScale(Messenger):
    """Leaves the scale N / B of a plate, by its name, out of the densities of its sites.

    Attributes:
        factor: What was left out.
    """

    def __init__(self, plate: str) -> None:
        super().__init__()
        self.plate, self.factor = plate, 1.0

    def _pyro_sample(self, msg: Any) -> None:
        for frame in msg["cond_indep_stack"]:
            if frame.name == self.plate:
                msg["scale_before"] = msg["scale"]
                msg["scale"] = msg["scale"] * frame.size / frame.full_size
                self.factor = frame.full_size / frame.size

    def put_back(self, traces: Sequence[Traces]) -> None:
        """Let the sites in traces have the scales that they had before."""
        for site in (site for pair in traces for trace in pair for site in trace.nodes.values()):
            site["scale"] = site.pop("scale_before", site.get("scale"))


def _check_baselines(guide: poutine.Trace) -> None:
    """Refuse baselines that Pyro keeps among the parameters and replaces at every step."""
    for site in sample_sites(guide):
        if site["infer"].get("baseline", {}).get("use_decaying_avg_baseline"):
            raise ModelError(
                f"site '{site['name']}': expected nn_baseline or baseline_value, got "
                "use_decaying_avg_baseline, an average that no checkpoint would have"
            )


def _are_of_single_draws(
    traces: Sequence[Traces], known: ProgramStructure, given: infer.ELBO
) -> bool:
    """Whether traces are such as the plain ELBO would take of the same programs itself."""
    is_vectorised = given.vectorize_particles and given.num_particles > 1
    return (
        not (known.enumeration or is_vectorised)
        and len(traces) > 0
        and all(map(known.has_sites_of, traces))
    )


@contextmanager
def _traces_of(given: infer.ELBO) -> Iterator[list[Traces]]:
    """The traces of model and guide that an objective takes inside, in their order.

    Where no parameter is declared to Pyro, as of networks that a function only closes over, one is
    put into the trace: some objectives go by that to see whether there is anything to train.
    """
    found: list[Traces] = []
    take = given._get_trace

    def noted(*args: Any, **kwargs: Any) -> Traces:
        pair: Traces = take(*args, **kwargs)
        if not any(site["type"] == "param" for trace in pair for site in trace.nodes.values()):
            pair[1].add_node("networks", name="networks", type="param")
        found.append(pair)
        return pair

    given._get_trace = noted
    try:
        yield found
    finally:
        del given._get_trace


def differentiable_loss(
    loss_and_grads: Callable[..., Any], model: Program, guide: Program, args: Any, kwargs: Any
) -> Tensor:
    """What ``loss_and_grads`` gives, with the gradients that it would add to the parameters'.

    Raises:
        ModelError: It gives several losses, or calls ``backward`` on nothing.
    """
    kind = getattr(loss_and_grads, "__qualname__", type(loss_and_grads).__name__)
    with _BackwardKept() as kept:
        loss = loss_and_grads(model, guide, *args, **kwargs)
    if isinstance(loss, tuple):
        raise ModelError(
            f"{kind} gives {len(loss)} losses: expected an objective with one, such as "
            "RenyiELBO(num_particles=10)"
        )
    if not kept.of and torch.is_grad_enabled():
        raise ModelError(
            f"{kind} has called backward on nothing that depends on parameters: expected "
            "loss.backward() there, as in Trace_ELBO"
        )
    surrogate = sum(kept.of, torch.zeros(()))
    value = loss.detach() if isinstance(loss, Tensor) else loss
    return value + (surrogate - surrogate.detach())


class _BackwardKept(TorchFunctionMode):
    """Keeps the tensors that ``backward`` is called on instead of following their graphs.

    Where Pyro's objectives read the value of a tensor they are given the tensor, without gradients,
    so that a step can be captured. Their check for NaN, which training makes itself, finds none;
    and probabilities that they enumerate count as above 0, as what is multiplied by 0 is nothing,
    or else not finite.

    Attributes:
        of: The tensors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.of: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is Tensor.backward:
            tensor, gradient = args[0], (kwargs or {}).get("gradient", *args[1:2])
            self.of.append(tensor if gradient is None else (tensor * gradient).sum())
            return None
        if func in _READS:
            caller = _caller()
            if func is Tensor.item and caller.rpartition(".")[0] == "pyro.infer":
                return args[0].detach()
            if (func, caller) in _UNREAD:
                return _UNREAD[func, caller]()
        return func(*args, **(kwargs or {}))


_UNREAD: dict[tuple[Any, str], Callable[[], Any]] = {
    (torch.isnan, "pyro.util"): partial(torch.zeros, (), dtype=torch.bool),
    (Tensor.register_hook, "pyro.util"): lambda: None,
    (Tensor.all, "pyro.infer.util"): partial(torch.ones, (), dtype=torch.bool),
}
_READS = frozenset({Tensor.item, *(function for function, _ in _UNREAD)})


def _caller() -> str:
    """The module, but for torch's, from which a function of torch is called."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals["__name__"].partition(".")[0] == "torch":
        frame = frame.f_back
    return "" if frame is None else str(frame.f_globals["__name__"])
