"""Pyro's ``SVI`` with steps that do not run the programs."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from pyro import infer, poutine
from pyro.optim import PyroOptim
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.acceleration import (
    CHOICES,
    CaptureError,
    ChangedTooOften,
    Departed,
    EagerStep,
    Execution,
    GoEager,
    choose,
    is_small,
)
from pyro_decomp.elbo.pyro_elbo import JIT
from pyro_decomp.errors import ExperimentError, ModelError
from pyro_decomp.programs.program_state.modules import find_modules
from pyro_decomp.training.loop import ExecutionWarning
from pyro_decomp.training.svi.captured_calls import (
    CapturedSteps,
    all_parameters,
    check_gradients,
    check_known,
    source_of,
)
from pyro_decomp.training.svi.gradients import gradients_kept
from pyro_decomp.training.svi.loss_of_calls import Call, OtherArgument

FIRST = "arguments like these have not come often enough yet"
INSIDE = "they are taken inside of a handler of Pyro's"
BEFORE_CAPTURE = 10  # steps by the programs, for every shape and plain value of the arguments
MOST_SIGNATURES = 24  # that are captured


class SVI(infer.SVI):
    r"""Stochastic variational inference as Pyro's ``SVI``, with steps that are captured.

    In place of ``pyro.infer.SVI``: the same arguments, methods, parameters in Pyro's store, random
    numbers and values. A step minimises ``loss``, with Pyro's sign and its sum over all data, by
    one step of the optimiser for every parameter that the programs declare to Pyro.

    The first 10 steps run the programs. Then, for each shape of the arguments that has come as
    often, what the programs did to tensors is replayed: see :doc:`/captured_steps`. Numbers among
    the arguments, such as the weight of an annealed KL, may be others at every step. Parameters,
    buffers, learning rates, ``requires_grad`` and the networks' modes are read at every step, so
    that all of them may be changed between two. A step inside of one of Pyro's handlers, such as
    ``with poutine.scale(scale=0.5):``, runs the programs. Steps are held against the programs as
    those of :func:`.train` are. What cannot be captured is run, and :attr:`execution` says why.

    Args:
        model: The model, a Pyro program.
        guide: The guide, a Pyro program of the same arguments.
        optim: One of ``pyro.optim``, schedulers of learning rates among them.
        loss: One of Pyro's, one of this package, or a function of model, guide and their arguments
            that gives a tensor. Pyro's ``Jit`` losses are captured in place of TorchScript.
        loss_and_grads: Of a ``loss`` that is a function: gives its value, and adds its gradients
            to those of the parameters.
        steps: "captured" replays the arithmetic, "fused" writes it as C, "compiled" leaves it to
            torch's compiler, "eager" runs the programs at every step. "auto" takes the fastest that
            pays in some thousand steps, and runs the programs where there is none.

    Attributes:
        execution: How steps are computed, and why.

    Raises:
        ArgumentError: ``optim`` is none of ``pyro.optim``, ``steps`` is none of these, or another
            argument is of no such type.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("data", len(x)):
        ...         pyro.sample("x", dist.Normal(loc, 1.0), obs=x)
        >>> guide = pyro.infer.autoguide.AutoNormal(model)
        >>> svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), pyro.infer.Trace_ELBO())
        >>> losses = [svi.step(torch.ones(5)) for _ in range(3)]
    """

    def __init__(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        optim: PyroOptim,
        loss: infer.ELBO | Callable[..., Any],
        loss_and_grads: Callable[..., Any] | None = None,
        *,
        steps: str = "auto",
    ) -> None:
        optimizer = "one of pyro.optim, such as pyro.optim.Adam({'lr': 1e-3})"
        arguments.instance(PyroOptim, optimizer, optim=optim)
        arguments.annotated(SVI.__init__, locals())
        if isinstance(loss, type):
            arguments.refuse("loss", f"an ELBO, such as {loss.__name__}()", loss)
        arguments.one_of(CHOICES["steps"], steps=steps)
        super().__init__(model, guide, optim, loss, loss_and_grads)
        for kind in JIT:
            if isinstance(loss, kind):
                self.loss_and_grads = super(kind, loss).loss_and_grads
        why = "" if steps == "eager" else FIRST
        self.execution = Execution("eager", "float32", "contiguous", why=why)
        self._asked, self._least = steps, BEFORE_CAPTURE if steps == "auto" else 1
        self._before = self._least
        self._seen: dict[tuple[Any, ...], tuple[int, dict[str, Tensor]]] = {}
        self._captured: CapturedSteps | None = None
        self._constants: set[str] = set()  # numbers among the arguments that Python uses
        self._is_watching = steps != "eager"

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """Take one step of the optimiser on the loss at these arguments.

        Returns:
            The loss before the step, a number; a tuple where the loss gives several.

        Raises:
            ExperimentError: ``steps`` asks for what cannot be had.
        """
        call = self._call(args, kwargs) if self._is_watching else None
        if call is not None:
            try:
                if steps := self._steps_for(call, args, kwargs):
                    return steps.take(call)
            except ChangedTooOften as change:
                self._run_programs(str(change))
            except GoEager as change:
                self._begin_anew(str(change))
            except Departed as departure:
                self._go_back(str(departure))
        with poutine.trace(param_only=True) as traced:
            loss = super().step(*args, **kwargs)
        if call is not None:
            sites = traced.trace.nodes.items()
            self._note(call, {name: site["value"].unconstrained() for name, site in sites})
            if isinstance(loss, tuple):
                self._run_programs("the loss gives several values")
            elif not call.is_unmoved(args, kwargs):
                self._run_programs("the programs write to their arguments")
        return loss

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        if am_i_wrapped():
            if self._captured is None:
                self.execution = replace(self.execution, why=INSIDE)
            return None
        try:
            return Call.of(args, kwargs, self._constants)
        except OtherArgument as reason:
            self._run_programs(f"{reason}: expected tensors and plain values")
            return None

    def _note(self, call: Call, parameters: dict[str, Tensor]) -> None:
        """Count a step that ran the programs."""
        count, before = self._seen.get(call.signature, (0, parameters))
        if not count and len(self._seen) >= MOST_SIGNATURES:
            rare = next((s for s, (times, _) in self._seen.items() if times < self._before), None)
            if rare is None:
                return
            del self._seen[rare]
        is_same = _is_same(before, parameters)
        self._seen[call.signature] = (count + 1 if is_same else 1, parameters)

    def _steps_for(self, call: Call, args: Any, kwargs: Any) -> CapturedSteps | None:
        """What takes this step without the programs, if anything does."""
        if self._captured is not None and (change := self._captured.change(self)):
            self._begin_anew(change)
        count, parameters = self._seen.get(call.signature, (0, {}))
        if count < self._before or not self._is_watching:
            return None
        if self._captured is None:
            self._capture(call, parameters, args, kwargs)
        steps = self._captured
        return steps if steps and _is_same(steps.parameters, parameters) else None

    def _capture(self, call: Call, parameters: dict[str, Tensor], args: Any, kwargs: Any) -> None:
        """Capture steps for calls like this one, or say why that cannot be."""
        try:
            steps, self.execution = self._captured_steps(call, parameters, args, kwargs)
        except (ModelError, CaptureError) as error:
            steps, self.execution = None, replace(self.execution, why=str(error))
        if steps is None:
            if self._asked != "auto":
                raise ExperimentError(f"steps: expected eager or auto, as {self.execution.why}")
            self._run_programs(self.execution.why)
        elif steps.used_by_python - self._constants:
            self._constants |= steps.used_by_python
            self._seen.clear()
            self.execution = replace(self.execution, steps="eager", why=FIRST)
            return
        self._captured = steps

    def _captured_steps(
        self, call: Call, parameters: dict[str, Tensor], args: Any, kwargs: Any
    ) -> tuple[CapturedSteps | None, Execution]:
        """Steps that do not run the programs, None where there are none, and how they are computed.

        Raises:
            CaptureError, ModelError: There are none; the message says why.
        """
        networks = find_modules([self.model, self.guide])
        check_known(networks, parameters)
        threads = 1 if is_small(call.tensors) else torch.get_num_threads()
        asked = Execution(self._asked, "float32", "contiguous", threads)
        with gradients_kept([*parameters.values(), *all_parameters(networks)]):
            source = source_of(self, networks, parameters, call)
            check_gradients(self, source, args, kwargs)
            compute, execution = choose(asked, source)
        if isinstance(compute, EagerStep):
            return None, execution
        is_rounded = execution.steps != "captured"
        return CapturedSteps(self, source, parameters, compute, is_rounded=is_rounded), execution

    def _go_back(self, why: str) -> None:
        """Go on, by the programs, from the last moment at which captured steps agreed with them."""
        assert self._captured is not None
        seen = self._captured.num_steps
        step = self._captured.go_back()
        self._run_programs(
            f"{why}, which was seen after {seen} captured steps; parameters are as they were after "
            f"{step} of them"
        )

    def _begin_anew(self, change: str) -> None:
        """Run the programs until steps can be captured again; longer if that was for few steps."""
        assert self._captured is not None
        is_short = self._captured.num_steps <= self._before
        self._before = 2 * self._before if is_short else self._least
        self._captured = None
        self._seen.clear()
        why = f"{change}, and steps are captured after {self._before} by the programs"
        self.execution = replace(self.execution, steps="eager", why=why)

    def _run_programs(self, why: str) -> None:
        """Run the programs at every step from now on, and say so."""
        self._is_watching, self._captured = False, None
        self._seen.clear()
        self.execution = replace(self.execution, steps="eager", why=why)
        message = f"SVI runs the programs at every step, as {why}"
        warnings.warn(message, ExecutionWarning, stacklevel=4)


def _is_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two dictionaries have the same tensors under the same names."""
    return one.keys() == other.keys() and all(other[name] is each for name, each in one.items())
