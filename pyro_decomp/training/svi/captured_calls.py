"""Steps of Pyro's ``SVI`` that are captured, and what they are computed from.

Internal to :mod:`.svi`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from operator import is_
from typing import Any

import pyro
from pyro import infer
from pyro.infer.util import torch_item
from pyro.util import warn_if_nan
from torch import Tensor, nn

from pyro_decomp.acceleration import (
    Audit,
    Auditor,
    CaptureError,
    GraphStep,
    StepSource,
)
from pyro_decomp.divergences.auxiliary import Auxiliary
from pyro_decomp.elbo.numbers import Number, Numbers
from pyro_decomp.programs.program_state import ProgramState
from pyro_decomp.programs.program_state.modules import tensors_kept
from pyro_decomp.schedules import Schedule
from pyro_decomp.seeds import random_state, set_random_state
from pyro_decomp.training.svi.gradients import Gradients, Optimization
from pyro_decomp.training.svi.loss_of_calls import Call, LossOfCalls

ASSUMED_STEPS = 5_000  # that a choice of how to compute steps takes a user to take
Parameters = Mapping[str, Tensor]


class SVIPrograms:
    """The model, the guide and the loss of an ``SVI`` as they are now."""

    schedules: Mapping[str, Schedule] = {}
    auxiliaries: Mapping[str, Auxiliary] = {}
    total_steps = ASSUMED_STEPS

    def __init__(self, svi: infer.SVI, loss: LossOfCalls) -> None:
        self._svi, self.elbo = svi, loss
        self._numbers = Numbers()

    @property
    def model(self) -> Callable[..., Any]:
        """The generative model."""
        return self._svi.model

    @property
    def guide(self) -> Callable[..., Any]:
        """The guide."""
        return self._svi.guide

    def number(self, name: str) -> Number:
        """A number of the model, the guide or the loss by its dotted name."""
        programs = {"model": self.model, "guide": self.guide, "elbo": self.elbo}
        return self._numbers.of(programs, name)

    def at_first_step(self) -> AbstractContextManager[None]:
        """Nothing: no number is scheduled."""
        return nullcontext()

    def apply_schedules(self, step: int) -> Mapping[str, float]:
        """Nothing: no number is scheduled."""
        return {}


def source_of(
    svi: infer.SVI, networks: Sequence[nn.Module], parameters: Parameters, call: Call
) -> StepSource:
    """What the steps of an ``SVI`` are computed from.

    Every parameter of the networks that asks for gradients gets them, as with Pyro; the optimiser
    is given those that are declared to Pyro.
    """
    loss = LossOfCalls(getattr(svi.loss, "__self__", svi.loss), svi.loss_and_grads)
    programs = SVIPrograms(svi, loss)
    batch = loss.take(call)
    declared = distinct(parameters)
    own = {id(p) for p in declared.values()}
    others = {
        f"{index}.{name}": p
        for index, network in enumerate(networks)
        for name, p in network.named_parameters()
        if p.requires_grad and id(p) not in own
    }
    python = ProgramState(networks, model=svi.model, guide=svi.guide, elbo=loss)
    with python.preserving_rng_and_buffers(), tensors_kept(networks):
        python.look(lambda: loss.evaluate(svi.model, svi.guide, *batch))
    trained = {**declared, **others}
    python.start(trained.values())
    store = pyro.get_param_store()
    changing = tuple(f"elbo.{name}" for name in call.numbers)
    return StepSource(
        programs, list(networks), trained, store, python, (batch,), changing, takes_any=True
    )


def check_known(networks: Sequence[nn.Module], parameters: Mapping[str, Tensor]) -> None:
    """Raise a CaptureError if there is nothing that Pyro trains, or it is out of reach."""
    if not parameters:
        raise CaptureError("they declare no parameters to Pyro (by pyro.param or pyro.module)")
    inside = {id(parameter) for parameter in all_parameters(networks)}
    for name, parameter in parameters.items():
        if "$$$" in name and id(parameter) not in inside:
            raise CaptureError(
                f"the network that pyro.module registers as '{name.split('$$$')[0]}' cannot be "
                "found from the model or guide"
            )


def distinct(parameters: Parameters) -> dict[str, Tensor]:
    """Each tensor once, by the first of the names that it was declared by."""
    names = {id(tensor): name for name, tensor in reversed(list(parameters.items()))}
    return {name: each for name, each in parameters.items() if names[id(each)] == name}


def all_parameters(networks: Sequence[nn.Module]) -> list[Tensor]:
    """Those of networks, one after another."""
    return [parameter for network in networks for parameter in network.parameters()]


def check_gradients(svi: infer.SVI, source: StepSource, args: Any, kwargs: Any) -> None:
    """Raise a CaptureError if a loss does more to gradients than what its ``backward`` does."""
    audit, (batch, *_) = Audit(source, "float32"), source.batches
    wanted = audit.by_programs(batch, 1, has_gradients=True)
    with audit.unmoved():
        for parameter in source.parameters.values():
            parameter.grad = None
        value = -torch_item(svi.loss_and_grads(svi.model, svi.guide, *args, **kwargs))
        each = source.parameters.items()
        gradients = {name: p.grad.clone() for name, p in each if p.grad is not None}
        values = {"objective": value, "elbo": value}
        if audit.disagreement(wanted, values, gradients):
            raise CaptureError("the loss does more to gradients than to call backward")


class CapturedSteps:
    """Takes steps of an ``SVI`` without running its programs.

    Where ``compute`` rounds otherwise than the programs, the optimiser may too.
    """

    def __init__(
        self,
        svi: infer.SVI,
        source: StepSource,
        parameters: Parameters,
        compute: GraphStep,
        *,
        is_rounded: bool,
    ) -> None:
        self.parameters = dict(parameters)
        assert isinstance(source.programs, SVIPrograms)
        self._loss, self._compute = source.programs.elbo, compute
        self._python, self._changed = source.python, source.python.watch()
        declared = list(distinct(parameters).values())
        self._optimize = Optimization(svi.optim, declared, is_rounded=is_rounded)
        self._all = [*parameters.values(), *all_parameters(source.modules)]
        self._made_for, self._stored = _parts(svi, self._all), _stored(parameters)
        self._gradients = Gradients(source.parameters.values(), declared)
        self._auditor = Auditor(source, self._optimize.joined, compute, precision="float32")
        self._auditor.begin(0, 0)
        self.num_steps = 0

    @property
    def used_by_python(self) -> set[str]:
        """Numbers among the arguments that cannot be inputs, as Python uses them."""
        return {name.removeprefix("elbo.") for name in self._compute.used_by_python}

    def change(self, svi: infer.SVI) -> str:
        """What was changed since, but for what a step reads anew, in a clause; empty if nothing."""
        if (
            _parts(svi, self._all) != self._made_for
            or not all(map(is_, _stored(self.parameters), self._stored))
            or not self._optimize.is_as_made()
        ):
            return "programs, parameters, loss or optimiser were replaced, frozen or thawed"
        path = self._changed()
        return path and f"{path} was changed"

    def take(self, call: Call) -> float:
        """Take one step; gives the loss before it.

        Raises:
            GoEager, Departed: See :class:`.GraphStep` and :class:`.Auditor`.
        """
        batch = self._loss.take(call)
        step = self.num_steps + 1
        with self._gradients.added():
            pending = self._auditor.before(batch, step, 0)
            result = self._compute(batch, step)
            if pending:
                self._auditor.after(pending, result)
        if pending or result.estimate is not None:  # the programs were run
            self._changed = self._python.watch()
        self.num_steps = step
        self._optimize()
        self._gradients.zero()
        return float(warn_if_nan(-result.values["objective"], "loss"))

    def go_back(self) -> int:
        """Make networks, parameters and optimiser as when steps last agreed with the programs.

        What the programs keep in Python is left, as no captured step has changed it.
        """
        kept, random = self._python.keep(), random_state()
        moment, _ = self._auditor.go_back()
        self._python.put_back(kept)
        set_random_state(random)
        self._optimize.hand_back()
        return moment.step


def _parts(svi: infer.SVI, parameters: Sequence[Tensor]) -> tuple[Any, ...]:
    """What decides which parameters are trained, and how."""
    asking = [parameter.requires_grad for parameter in parameters]
    return svi.model, svi.guide, svi.optim, svi.loss_and_grads, asking


def _stored(parameters: Parameters) -> list[Any]:
    """What Pyro's store has under the names of parameters, and the dictionaries it is in."""
    store = pyro.get_param_store()
    kept = (store._params, store._constraints)
    return [*kept, *(each.get(name) for name in parameters for each in kept)]
