"""Ways to run the graph of a step. Internal."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from pyro_decomp.acceleration.capture import StepGraph
from pyro_decomp.acceleration.capture.compiled import compiled, example_inputs
from pyro_decomp.acceleration.capture.step_graph import with_norm
from pyro_decomp.acceleration.fusion import Program


class StepOutputs(NamedTuple):
    """What the graph of a step gives.

    Attributes:
        values: The objective and its terms; then, unless the graph is replayed, the norm of the
            whole gradient.
        gradients: One by each parameter, or a single vector ``[P]`` by all of them.
        buffers: As they are after the step.
    """

    values: Tensor
    gradients: Sequence[Tensor] | Tensor
    buffers: Sequence[Tensor]


Run = Callable[[Sequence[Tensor]], StepOutputs]
Backend = Callable[[StepGraph, Sequence[Tensor]], Run]
"""Takes a graph and an example of its inputs; gives what runs the graph on inputs like these."""


def replayed(graph: StepGraph, inputs: Sequence[Tensor]) -> Run:
    """Run the graph's operations one by one, to the same bits as the programs."""
    size = len(graph.slots.trained)

    def run(inputs: Sequence[Tensor]) -> StepOutputs:
        values, *rest = graph.module(*inputs)
        return StepOutputs(values, rest[:size], rest[size:])

    return run


def by_compiler(graph: StepGraph, inputs: Sequence[Tensor]) -> Run:
    """Run what torch's compiler makes of the graph.

    Raises:
        RuntimeError: The compiler failed.
    """
    size = len(graph.slots.trained)
    program = compiled(with_norm(graph.module, size), example_inputs(inputs))

    def run(inputs: Sequence[Tensor]) -> StepOutputs:
        values, *rest = program(*inputs)
        return StepOutputs(values, rest[:size], rest[size:])

    return run


def by_fusion(graph: StepGraph, inputs: Sequence[Tensor]) -> Run:
    """Run the graph as loops in C.

    Raises:
        FusionError: It cannot be written as C.
    """
    program = fused_program(graph, inputs)
    own = [(buffer.shape, buffer.dtype) for buffer in graph.slots.buffers]

    def run(inputs: Sequence[Tensor]) -> StepOutputs:
        values, gradient, *buffers = program(inputs)
        pairs = zip(buffers, own, strict=True)
        return StepOutputs(values, gradient, [b.view(s).to(dtype) for b, (s, dtype) in pairs])

    return run


def fused_program(graph: StepGraph, inputs: Sequence[Tensor]) -> Program:
    """The graph in C: it gives values and norm, all gradients as one vector, and each buffer.

    Raises:
        FusionError: It cannot be written as C.
    """
    size, num_buffers = len(graph.slots.trained), len(graph.slots.buffers)
    return Program(with_norm(graph.module, size), inputs, [1, size, *[1] * num_buffers])
