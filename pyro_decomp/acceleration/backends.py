"""Ways to run the graph of a step, of one run or of K members at once. Internal."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyro_decomp.acceleration.capture import CaptureError, StepGraph
from pyro_decomp.acceleration.capture.compiled import compiled, example_inputs
from pyro_decomp.acceleration.capture.simplify import simplify
from pyro_decomp.acceleration.capture.step_graph import with_norm
from pyro_decomp.acceleration.capture.tracing import traced
from pyro_decomp.acceleration.fusion import Program


class StepOutputs(NamedTuple):
    """What the graph of a step gives; of K members all with a leading K.

    Attributes:
        values: The objective and its terms.
        norm: Of the whole gradient; None where the graph is replayed.
        gradients: One by each parameter, None where the objective does not depend on it; or a
            single vector ``[P]`` by all of them.
        buffers: As they are after the step.
    """

    values: Tensor
    norm: Tensor | None
    gradients: Sequence[Tensor | None] | Tensor
    buffers: Sequence[Tensor]


Run = Callable[[Sequence[Tensor]], StepOutputs]
Backend = Callable[[StepGraph, Sequence[Tensor]], Run]
"""Takes a graph and an example of its inputs; gives what runs the graph on inputs like these."""


class Ready(NamedTuple):
    """A captured step and what runs it."""

    graph: StepGraph
    run: Run


def replayed(graph: StepGraph, inputs: Sequence[Tensor]) -> Run:
    """Run the graph's operations one by one, to the same bits as the programs."""

    def run(inputs: Sequence[Tensor]) -> StepOutputs:
        values, *rest = graph.module(*inputs)
        return StepOutputs(values, None, *_parted(graph, rest))

    return run


def by_compiler(graph: StepGraph, inputs: Sequence[Tensor]) -> Run:
    """Run what torch's compiler makes of the graph.

    Raises:
        RuntimeError: The compiler failed.
    """
    module = with_norm(graph.module, len(graph.slots.trained))
    program = compiled(module, example_inputs(inputs))

    def run(inputs: Sequence[Tensor]) -> StepOutputs:
        values, *rest, norm = program(*inputs)
        return StepOutputs(values, norm, *_parted(graph, rest))

    return run


def by_fusion(graph: StepGraph, inputs: Sequence[Tensor], members: int | None = None) -> Run:
    """Run the graph as loops in C; of members one after another, each with its data in the caches.

    Raises:
        FusionError: It cannot be written as C.
    """
    trained, buffers = graph.slots.trained, graph.slots.buffers
    module = with_norm(graph.module, len(trained))
    program = Program(module, inputs, [1, len(trained), *[1] * len(buffers), 1])
    leading = () if members is None else (members,)
    own = [((*leading, *buffer.shape), buffer.dtype) for buffer in buffers]

    def run(inputs: Sequence[Tensor]) -> StepOutputs:
        values, gradient, *left, norm = program(inputs, members)
        shaped = [b.view(s).to(dtype) for b, (s, dtype) in zip(left, own, strict=True)]
        return StepOutputs(values, norm.view(leading), gradient, shaped)

    return run


def vectorized(
    graph: StepGraph, inputs: Sequence[Tensor], *, shares_data: bool, is_compiled: bool
) -> Run:
    """All members by every operation at once: ``torch.func.vmap`` of the step of one.

    ``inputs`` are those of all members; ``shares_data`` says that the batch is one for all of them.

    Raises:
        CaptureError: ``torch.func.vmap`` does not allow it.
    """
    slots = graph.slots
    first, size = len(slots.inputs()), len(slots.trained)
    placeholders = [n for n in graph.module.graph.nodes if n.op == "placeholder"]
    num_draws = sum(str(node.target).startswith("draw_") for node in placeholders)
    num_batch = len(placeholders) - first - num_draws
    axes = [0] * first + [None if shares_data else 0] * num_batch + [0] * num_draws
    each = torch.func.vmap(graph.module, tuple(axes))

    def step(*inputs: Tensor) -> list[Tensor]:
        results = list(each(*inputs))
        pairs = zip(results[1 : 1 + size], slots.trained, strict=True)
        squares = [each.reshape(len(each), own.numel()).square().sum(1) for each, own in pairs]
        return [*results, torch.stack(squares).sum(0).sqrt()]

    try:
        with torch.no_grad():
            module = traced(step, example_inputs(inputs))
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise CaptureError(f"torch.func.vmap does not allow it: {reason}") from error
    simplify(module)
    program = compiled(module, inputs) if is_compiled else module

    def run(inputs: Sequence[Tensor]) -> StepOutputs:
        values, *rest, norms = program(*inputs)
        return StepOutputs(values, norms, *_parted(graph, rest))

    return run


def _parted(
    graph: StepGraph, results: Sequence[Tensor]
) -> tuple[list[Tensor | None], Sequence[Tensor]]:
    """Gradients, of the parameters that the objective depends on, and buffers."""
    size = len(graph.has_gradient)
    pairs = zip(results[:size], graph.has_gradient, strict=True)
    return [gradient if is_there else None for gradient, is_there in pairs], results[size:]
