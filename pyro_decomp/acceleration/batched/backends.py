"""One step of several members as one computation."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_decomp.acceleration.backends import fused_program
from pyro_decomp.acceleration.capture import CaptureError, StepGraph
from pyro_decomp.acceleration.capture.compiled import compiled, example_inputs
from pyro_decomp.acceleration.capture.simplify import simplify
from pyro_decomp.acceleration.capture.tracing import traced


@dataclass(frozen=True)
class Results:
    """What a step of K members gives.

    Attributes:
        values: Of the step's names, ``[K, n]``.
        norms: Of the members' gradients, ``[K]``.
        gradients: By each parameter, with a leading K, None where the objective does not depend on
            it; or by all of a member's as one vector.
        buffers: As they are afterwards, with a leading K.
    """

    values: Tensor
    norms: Tensor
    gradients: Sequence[Tensor | None]
    buffers: list[Tensor]


@dataclass(frozen=True)
class BatchedStep:
    """A step of K members.

    Attributes:
        graph: The step of one, whose numbers of the objective are inputs.
        run: Takes what ``graph.module`` takes, all with a leading K but what members share.
    """

    graph: StepGraph
    run: Callable[[Sequence[Tensor]], Results]


def fused(graph: StepGraph, inputs: Sequence[Tensor], *, is_flat: bool) -> BatchedStep:
    """One member after another by loops in C, each with what it computes in the caches.

    Args:
        graph: The step of one.
        inputs: Of one member.
        is_flat: Give all gradients of a member as one vector.

    Raises:
        FusionError: It cannot be written as C.
    """
    trained, buffers = graph.slots.trained, graph.slots.buffers
    program = fused_program(graph, inputs)

    def run(inputs: Sequence[Tensor]) -> Results:
        members = len(inputs[0])
        values, gradient, *updated = program(inputs, members)
        pairs = zip(updated, buffers, strict=True)
        shaped = [new.view(members, *own.shape).to(own.dtype) for new, own in pairs]
        gradients = [gradient] if is_flat else _found(graph, _shaped_as(trained, gradient))
        return Results(values[:, :-1], values[:, -1], gradients, shaped)

    return BatchedStep(graph, run)


def vectorized(
    graph: StepGraph, inputs: Sequence[Tensor], *, shares_data: bool, is_compiled: bool
) -> BatchedStep:
    """All members by every operation at once: ``torch.func.vmap`` of the step of one.

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

    def run(inputs: Sequence[Tensor]) -> Results:
        values, *rest, norms = program(*inputs)
        return Results(values, norms, _found(graph, rest[:size]), list(rest[size:]))

    return BatchedStep(graph, run)


def _shaped_as(parameters: Sequence[Tensor], gradient: Tensor) -> list[Tensor]:
    """Vectors of members, ``[K, P]``, as parts of the parameters' shapes."""
    parts = gradient.split([parameter.numel() for parameter in parameters], 1)
    pairs = zip(parts, parameters, strict=True)
    return [part.reshape(len(gradient), *parameter.shape) for part, parameter in pairs]


def _found(graph: StepGraph, gradients: Sequence[Tensor]) -> list[Tensor | None]:
    """Gradients of the parameters that the objective depends on."""
    pairs = zip(gradients, graph.has_gradient, strict=True)
    return [gradient if is_there else None for gradient, is_there in pairs]
