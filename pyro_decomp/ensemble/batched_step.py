"""One step of several members as one computation: ``torch.func.vmap`` of the step of one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from pyro_decomp.capture import CaptureError, StepGraph
from pyro_decomp.capture.compiled import Program, compiled, example_inputs
from pyro_decomp.capture.simplify import simplify


@dataclass(frozen=True)
class BatchedStep:
    """A step of K members.

    Attributes:
        graph: The step of one, whose numbers of the objective are inputs.
        shares_data: Whether the members are given one batch together, without a leading K.
        run: Takes what ``graph.module`` takes, all but a shared batch with a leading K; gives what
            it gives and, last, the Euclidean norms of the members' gradients, ``[K]``.
    """

    graph: StepGraph
    shares_data: bool
    run: Program

    @classmethod
    def of(
        cls, graph: StepGraph, inputs: Sequence[Tensor], *, shares_data: bool, is_compiled: bool
    ) -> "BatchedStep":
        """Make the step of K members from that of one.

        Args:
            graph: The step of one.
            inputs: Inputs of the shapes to come, with a leading K where they have one.
            shares_data: Whether the batch has none.
            is_compiled: Turn it into machine code.

        Raises:
            CaptureError: ``torch.func.vmap`` does not allow it.
        """
        slots = graph.slots
        first, num_trained = len(slots.inputs()), len(slots.trained)
        placeholders = [n for n in graph.module.graph.nodes if n.op == "placeholder"]
        num_draws = sum(str(node.target).startswith("draw_") for node in placeholders)
        num_batch = len(placeholders) - first - num_draws
        axes = [0] * first + [None if shares_data else 0] * num_batch + [0] * num_draws
        each = torch.func.vmap(graph.module, tuple(axes))

        def step(*inputs: Tensor) -> list[Tensor]:
            results = list(each(*inputs))
            gradients = results[1 : 1 + num_trained]
            squares = [gradient.flatten(1).square().sum(1) for gradient in gradients]
            return [*results, torch.stack(squares).sum(0).sqrt()]

        try:
            with torch.no_grad():
                module: GraphModule = make_fx(step)(*example_inputs(inputs))
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise CaptureError(f"torch.func.vmap does not allow it: {reason}") from error
        simplify(module)
        return cls(graph, shares_data, compiled(module, inputs) if is_compiled else module)
