"""One training step, loss to gradients, as a graph of tensors."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyro
import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_decomp.capture.followed import is_followed, quiet
from pyro_decomp.capture.functional import functional
from pyro_decomp.capture.random_draws import lift
from pyro_decomp.capture.recording import record
from pyro_decomp.capture.refusal import CaptureError
from pyro_decomp.capture.simplify import simplify
from pyro_decomp.capture.substitution import Slots
from pyro_decomp.elbo import Estimate
from pyro_decomp.experiment import Experiment
from pyro_decomp.modules import buffers_kept
from pyro_decomp.precision import in_precision
from pyro_decomp.program_state import undisturbed
from pyro_decomp.state import State


@dataclass(frozen=True)
class StepGraph:
    """A step of one experiment for one shape of batch.

    Attributes:
        slots: Where its first inputs are found, in the order trained, frozen, buffers, weights;
            then come the batch and the draws.
        module: Takes the inputs; gives the values, the gradients of what is trained, and buffers
            as they are afterwards.
        draw: Gives the draws, in the programs' order, from the global generator.
        names: Of the values: ``objective``, ``elbo`` and every term.
        has_gradient: Of each that is trained, whether the objective depends on it; where it does
            not, the module gives zeros, and an optimiser is to be given none.
    """

    slots: Slots
    module: GraphModule
    draw: GraphModule
    names: tuple[str, ...]
    has_gradient: tuple[bool, ...]

    @property
    def num_operations(self) -> int:
        """Operations in the graph."""
        return sum(node.op == "call_function" for node in self.module.graph.nodes)


def named_values(estimate: Estimate) -> dict[str, Tensor]:
    """What is logged of an estimate, by name."""
    return {"objective": estimate.objective, "elbo": estimate.elbo, **estimate.terms}


def capture(
    experiment: Experiment,
    state: State,
    batch: Sequence[Tensor],
    weights: Sequence[str] = (),
    precision: str = "float32",
) -> StepGraph:
    """Take down one step. Random generators and buffers are as before afterwards.

    Python runs once: numbers that it computes become constants, and so do choices that it makes.
    Numbers that are to change are named in ``weights``.

    Args:
        experiment: What is trained.
        state: Its networks and parameters, in training mode.
        batch: A batch, as the programs take it.
        weights: Names of the numbers that are inputs.
        precision: Of the products of networks.

    Raises:
        CaptureError: The programs let values of tensors decide what they compute, draw what depends
            on parameters in a way that cannot be taken out, or cannot be traced; or Python uses a
            number that is to be an input.
    """
    try:
        with quiet():
            return _captured(experiment, state, batch, weights, precision)
    except CaptureError as error:
        if used := _used_by_python(experiment, state, batch, weights, precision):
            raise CaptureError(
                f"{' and '.join(used)} {'is' if len(used) == 1 else 'are'} used by Python (as in "
                "`if` or `math.exp`), and a schedule changes it"
            ) from error
        raise


def _used_by_python(
    experiment: Experiment,
    state: State,
    batch: Sequence[Tensor],
    weights: Sequence[str],
    precision: str,
) -> list[str]:
    """Which numbers keep a step from being captured that could be if none changed."""

    def is_captured(*names: str) -> bool:
        try:
            with quiet():
                _captured(experiment, state, batch, names, precision)
        except CaptureError:
            return False
        return True

    if not weights or not is_captured():
        return []
    return [name for name in weights if not is_captured(name)]


def _captured(
    experiment: Experiment,
    state: State,
    batch: Sequence[Tensor],
    weights: Sequence[str],
    precision: str,
) -> StepGraph:
    slots = Slots(experiment, state, batch, weights)
    names: list[str] = []
    has_gradient: list[bool] = []

    def step(*inputs: Tensor) -> list[Tensor]:
        trained, frozen, buffers, numbers, batch = slots.split(inputs)
        leaves = [p.detach().requires_grad_() for p in trained]
        updated = [buffer.clone() for buffer in buffers]
        with (
            slots.filled(leaves, frozen, updated, numbers),
            pyro.validation_enabled(False),
            in_precision(precision),
        ):
            estimate = experiment.elbo.evaluate(experiment.model, experiment.guide, *batch)
            found = torch.autograd.grad(-estimate.objective, leaves, allow_unused=True)
        gradients = [
            torch.zeros_like(leaf) if gradient is None else gradient
            for leaf, gradient in zip(leaves, found, strict=True)
        ]
        has_gradient[:] = [gradient is not None for gradient in found]
        values = named_values(estimate)
        names[:] = values
        return [torch.stack([value.detach() for value in values.values()]), *gradients, *updated]

    _check_repeats(experiment, state, batch)
    inputs = [*slots.inputs(), *batch]
    with state.program.undisturbed():
        try:
            module = functional(record(step, inputs), inputs)
        except CaptureError:
            raise
        except Exception as error:
            raise CaptureError(_reason(error)) from error
    draw = lift(module)
    simplify(draw)
    simplify(module)
    graph = StepGraph(slots, module, draw, tuple(names), tuple(has_gradient))
    if weights:
        first = len(slots.trained) + len(slots.frozen) + len(slots.buffers)
        with undisturbed(state.modules):
            if not is_followed(
                experiment, weights, inputs, first=first, step=step, module=module, draw=draw
            ):
                raise CaptureError(f"{' or '.join(weights)} becomes a constant")
    return graph


def _check_repeats(experiment: Experiment, state: State, batch: Sequence[Tensor]) -> None:
    """Refuse programs in which Python decides: what it draws or counts would be a constant."""
    if counted := [path for path, kind in state.program.moving.items() if kind == "value"]:
        raise CaptureError(
            f"Python decides what the programs compute: every run moves {', '.join(counted)}"
        )

    def objective(other_draws: int) -> Tensor:
        with undisturbed(), buffers_kept(state.modules), torch.no_grad():
            for _ in range(other_draws):
                random.random()
                np.random.rand()
            evaluate = experiment.elbo.evaluate
            return evaluate(experiment.model, experiment.guide, *batch).objective

    with state.program.undisturbed():
        first, second = objective(0), objective(1)
    if not torch.equal(first, second) and not bool(first.isnan()):
        raise CaptureError("Python decides what the programs compute, otherwise at every run")


def _reason(error: Exception) -> str:
    message = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "mutating a non-functional tensor" in str(error):
        return "the programs write to a tensor of their own"
    return f"they cannot be traced: {type(error).__name__}: {message}"
