"""One training step, loss to gradients, as a graph of tensors."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyro
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from pyro_decomp.acceleration.capture.functional_state import FunctionalState
from pyro_decomp.acceleration.capture.random_draws import lift
from pyro_decomp.acceleration.capture.repeats import (
    check_unread,
    is_followed,
    quiet,
    refuse_moving,
    tensors_that_move,
)
from pyro_decomp.acceleration.capture.simplify import simplify
from pyro_decomp.acceleration.capture.tracing import functional, traced
from pyro_decomp.acceleration.errors import CaptureError, HiddenValueError, UsedByPythonError
from pyro_decomp.acceleration.precision import in_precision
from pyro_decomp.acceleration.source import StepSource

aten = torch.ops.aten


@dataclass(frozen=True)
class StepGraph:
    """A step of one experiment for one shape of batch.

    Attributes:
        slots: Where its first inputs are found, in the order trained, frozen, buffers, weights;
            then come the batch and the draws.
        module: Takes the inputs; gives the values, the gradients of what is trained, and buffers
            as they are afterwards.
        sampler: Takes the frozen inputs; gives the draws, in the programs' order, from the global
            generator.
        names: Of the values: ``objective``, ``elbo`` and every term.
        has_gradient: Of each that is trained, whether the objective depends on it; where it does
            not, the module gives zeros, and an optimiser is to be given none.
        assigned: Of each buffer, whether the programs assign it anew rather than write to it.
    """

    slots: FunctionalState
    module: GraphModule
    sampler: GraphModule
    names: tuple[str, ...]
    has_gradient: tuple[bool, ...]
    assigned: tuple[bool, ...]

    def draw(self) -> list[Tensor]:
        """The draws of a step, with frozen tensors as they are now."""
        drawn: list[Tensor] = self.sampler(*(tensor.detach() for tensor in self.slots.frozen))
        return drawn

    @property
    def num_operations(self) -> int:
        """How many operations the graph has."""
        return sum(node.op == "call_function" for node in self.module.graph.nodes)


def with_norm(module: GraphModule, num_trained: int) -> GraphModule:
    """A step's graph that gives the Euclidean norm of the whole gradient last.

    The graph gives a vector of values first, then as many gradients, and more; it stays as it is.
    """
    graph = copy.deepcopy(module.graph)
    *_, output = graph.nodes
    _, *rest = output.args[0]
    with graph.inserting_before(output):
        total: Node | None = None
        for gradient in rest[:num_trained]:
            square = graph.call_function(aten.mul.Tensor, (gradient, gradient))
            term = graph.call_function(aten.sum.default, (square,))
            total = term if total is None else graph.call_function(aten.add.Tensor, (total, term))
        norm = graph.call_function(aten.sqrt.default, (total,))
    output.args = ([*output.args[0], norm],)
    return GraphModule(module, graph)


def capture(
    source: StepSource,
    batch: Sequence[Tensor],
    weights: Sequence[str] = (),
    precision: str = "float32",
) -> StepGraph:
    """Trace one step. Random generators and buffers are as before afterwards.

    Python runs once: numbers that it computes become constants, and so do choices that it makes.
    Numbers that are to change are named in ``weights``.

    Raises:
        CaptureError: The programs let values of tensors decide what they compute, draw what depends
            on parameters in a way that cannot be taken out, or cannot be traced; or Python uses a
            number that is to be an input.
    """

    def attempt(names: Sequence[str]) -> StepGraph:
        with quiet():
            return _captured(source, batch, names, precision)

    try:
        return attempt(weights)
    except UsedByPythonError:
        raise
    except CaptureError as error:
        if used := _used_by_python(attempt, weights):
            raise UsedByPythonError(_use(used, "a schedule changes")) from error
        raise


def _used_by_python(
    attempt: Callable[[Sequence[str]], StepGraph], weights: Sequence[str]
) -> list[str]:
    """Which numbers keep a step from being captured that could be if none changed."""

    def is_captured(*names: str) -> bool:
        try:
            attempt(names)
        except CaptureError:
            return False
        return True

    if not weights or not is_captured():
        return []
    return [name for name in weights if not is_captured(name)]


def _captured(
    source: StepSource, batch: Sequence[Tensor], weights: Sequence[str], precision: str
) -> StepGraph:
    refuse_moving(source)
    state = FunctionalState(source, batch, weights)
    step, inputs = _Step(source, state, precision), [*state.inputs(), *batch]
    with source.python.preserving_rng_and_buffers():
        moving = tensors_that_move(source, batch)
        before = source.python.fingerprint()
        try:
            module = traced(step, inputs)
            check_unread(moving, before, module)
            module = functional(module, inputs)
        except HiddenValueError as error:
            raise _named(error, state) from error
        except CaptureError:
            raise
        except Exception as error:
            message = str(error).strip().partition("\n")[0] or type(error).__name__
            reason = f"they cannot be traced: {type(error).__name__}: {message}"
            raise CaptureError(reason) from error
    sampler = lift(module, state.where_frozen)
    simplify(sampler)
    simplify(module)
    if weights:

        def replay(*given: Tensor) -> Sequence[Tensor]:
            results: Sequence[Tensor] = module(*given, *sampler(*given[state.where_frozen]))
            return results

        with source.python.preserving_rng_and_buffers():
            if not is_followed(source, state, inputs, step=step, graph=replay):
                raise CaptureError(f"{' or '.join(weights)} becomes a constant")
    return StepGraph(state, module, sampler, step.names, step.has_gradient, step.assigned)


class _Step:
    """A step as a function of its tensors, and what is known of it once it has run.

    The attributes ``names``, ``has_gradient`` and ``assigned`` are those of :class:`StepGraph`.
    """

    names: tuple[str, ...]
    has_gradient: tuple[bool, ...]
    assigned: tuple[bool, ...]

    def __init__(self, source: StepSource, state: FunctionalState, precision: str) -> None:
        self._source, self._state, self._precision = source, state, precision

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        state = self._state
        trained, frozen, buffers, numbers, batch = state.split(inputs)
        pairs = zip(trained, state.trained, strict=True)
        leaves = [given.detach().requires_grad_(own.requires_grad) for given, own in pairs]
        copies = [buffer.clone() for buffer in buffers]
        with (
            state.filled([*leaves, *frozen, *copies, *numbers]),
            pyro.validation_enabled(False),
            in_precision(self._precision),
        ):
            estimate = self._source.evaluate(*batch)
            asking = [leaf for leaf in leaves if leaf.requires_grad]
            found = iter(torch.autograd.grad(-estimate.objective, asking, allow_unused=True))
            gradients = [next(found) if leaf.requires_grad else None for leaf in leaves]
            left = state.left()
        self.assigned = tuple(own is not given for own, given in zip(left, copies, strict=True))
        self.has_gradient = tuple(gradient is not None for gradient in gradients)
        values = estimate.logged
        self.names = tuple(values)
        whole = [
            torch.zeros_like(leaf) if gradient is None else gradient
            for leaf, gradient in zip(leaves, gradients, strict=True)
        ]
        return [torch.stack([value.detach() for value in values.values()]), *whole, *left]


def _named(error: HiddenValueError, state: FunctionalState) -> CaptureError:
    """The error, with the names of the numbers and buffers where Python asks for those."""
    if not error.inputs and isinstance(error.__cause__, HiddenValueError):  # raised anew
        return _named(error.__cause__, state)
    names, first = state.names(), len(state.trained)
    if not error.inputs or not all(first <= index < len(names) for index in error.inputs):
        return error
    found = [names[index] for index in error.inputs]
    is_number = len(names) - len(state.weights) <= min(error.inputs)
    return UsedByPythonError(_use(found, "a schedule changes" if is_number else "steps may change"))


def _use(names: Sequence[str], who: str) -> str:
    one = len(names) == 1
    return (
        f"{' and '.join(names)} {'is' if one else 'are'} used by Python (as in `if` or "
        f"`math.exp`), and {who} {'it' if one else 'them'}"
    )
