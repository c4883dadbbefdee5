"""The norm of a step's gradient, computed within its graph."""

import copy

import torch
from torch.fx import GraphModule, Node

aten = torch.ops.aten


def with_norm(module: GraphModule, num_trained: int) -> GraphModule:
    """The same graph, whose values are followed by the Euclidean norm of the whole gradient.

    Args:
        module: Gives a vector of values first, then as many gradients, and more; it stays as it is.
        num_trained: How many gradients.
    """
    graph = copy.deepcopy(module.graph)
    (output,) = (node for node in graph.nodes if node.op == "output")
    values, *rest = output.args[0]
    with graph.inserting_before(output):
        total: Node | None = None
        for gradient in rest[:num_trained]:
            square = graph.call_function(aten.mul.Tensor, (gradient, gradient))
            term = graph.call_function(aten.sum.default, (square,))
            total = term if total is None else graph.call_function(aten.add.Tensor, (total, term))
        norm = graph.call_function(aten.sqrt.default, (total,))
        one = graph.call_function(aten.unsqueeze.default, (norm, 0))
        both = graph.call_function(aten.cat.default, ([values, one],))
    output.args = ([both, *rest],)
    return GraphModule(module, graph)
