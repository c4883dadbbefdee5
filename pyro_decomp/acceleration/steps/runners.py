"""Ways to run the graph of a step on the same inputs."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyro_decomp.acceleration.capture import StepGraph
from pyro_decomp.acceleration.capture.compiled import compiled, example_inputs
from pyro_decomp.acceleration.capture.step_graph import with_norm
from pyro_decomp.acceleration.fusion import Program
from pyro_decomp.acceleration.steps.one_vector import OneVector

Runner = Callable[[Sequence[Tensor]], Sequence[Tensor]]
"""Takes a graph's inputs. Gives its values, with the norm of the gradient as the last unless it is
replayed; the gradients, or one by the vector of all parameters; and the buffers."""


def replayed(graph: StepGraph, joined: OneVector | None = None) -> Runner:
    """The graph's operations one by one, to the same bits as the programs."""
    if joined is None:
        return lambda inputs: graph.module(*inputs)
    size = len(graph.slots.trained)

    def run(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        values, *rest = graph.module(*inputs)
        return [values, torch.cat([each.flatten() for each in rest[:size]]), *rest[size:]]

    return run


def by_compiler(graph: StepGraph, inputs: Sequence[Tensor], joined: OneVector | None) -> Runner:
    """The graph as torch's compiler translates it.

    Raises:
        RuntimeError: The compiler failed.
    """
    size = len(graph.slots.trained)
    module = with_norm(graph.module, size)
    if joined is None:
        program = compiled(module, example_inputs(inputs))
        return lambda inputs: program(*inputs)
    rest = example_inputs([joined.vector.detach(), *inputs[size:]])
    program = compiled(joined.joined(module, rest), rest)
    return lambda inputs: program(joined.vector.detach(), *inputs[size:])


def by_fusion(graph: StepGraph, inputs: Sequence[Tensor], joined: OneVector | None) -> Runner:
    """The graph as loops in C.

    Raises:
        FusionError: It cannot be written as C.
    """
    program, trained = fused_program(graph, inputs), graph.slots.trained
    shapes = [parameter.shape for parameter in trained]
    own = [(buffer.shape, buffer.dtype) for buffer in graph.slots.buffers]
    sizes = [shape.numel() for shape in shapes]

    def run(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        values, gradient, *buffers = program(inputs)
        buffers = [b.view(s).to(dtype) for b, (s, dtype) in zip(buffers, own, strict=True)]
        if joined is not None:
            return [values, gradient, *buffers]
        parts = zip(torch.split(gradient, sizes), shapes, strict=True)
        return [values, *(part.view(shape) for part, shape in parts), *buffers]

    return run


def fused_program(graph: StepGraph, inputs: Sequence[Tensor]) -> Program:
    """A graph in C, which gives values and norm, all gradients as one vector, and each buffer.

    Raises:
        FusionError: It cannot be written as C.
    """
    size, num_buffers = len(graph.slots.trained), len(graph.slots.buffers)
    return Program(with_norm(graph.module, size), inputs, [1, size, *[1] * num_buffers])
