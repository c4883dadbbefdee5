"""A captured graph with as few operations as its values need."""

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter

from pyro_decomp.acceleration.capture.tracing import is_random

aten = torch.ops.aten

LARGEST_CONSTANT = 2**20  # elements of a constant that is kept instead of computed
_SAME = {
    aten.alias.default,
    aten.detach.default,
    aten.lift_fresh_copy.default,
    aten.lift_fresh.default,
    aten.alias_copy.default,
    aten.detach_copy.default,
}


def simplify(module: GraphModule) -> None:
    """Compute constants once, and nothing that is not asked for.

    The graph must be functional: nothing in it writes to a tensor.
    """
    graph = module.graph
    for node in list(graph.nodes):
        if node.target in _SAME:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()
    _fold_constants(module)
    module.delete_all_unused_submodules()
    module.recompile()


def _fold_constants(module: GraphModule) -> None:
    """Replace what depends on no input and on no draw by its value, where that is small."""
    graph, interpreter = module.graph, Interpreter(module)
    values = interpreter.env
    for node in graph.nodes:
        is_computed = node.op == "call_function" and not is_random(node.target)
        if node.op == "get_attr" or (is_computed and values.keys() >= {*node.all_input_nodes}):
            value = interpreter.run_node(node)
            is_tensor = is_computed and isinstance(value, Tensor)
            if not is_tensor or value.numel() <= LARGEST_CONSTANT:
                values[node] = value
    for node, value in list(values.items()):
        is_tensor = node.op == "call_function" and isinstance(value, Tensor)
        if not is_tensor or values.keys() >= {*node.users}:  # only constants need it
            continue
        name = f"_folded_{node.name}"
        module.register_buffer(name, value, persistent=False)
        with graph.inserting_before(node):
            constant = graph.get_attr(name)
        constant.meta = dict(node.meta)
        node.replace_all_uses_with(constant)
    graph.eliminate_dead_code()
