"""A captured graph with as few operations as its values need."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

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
    """Compute constants once, equal expressions once, and nothing that is not asked for.

    The graph must be functional: nothing in it writes to a tensor.
    """
    graph = module.graph
    for node in list(graph.nodes):
        if node.target in _SAME:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()
    _fold_constants(module)
    _merge_equal(module)
    graph.eliminate_dead_code()
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


def _merge_equal(module: GraphModule) -> None:
    """Let equal operations on equal arguments be one."""
    graph = module.graph
    seen: dict[Any, Node] = {}
    for node in list(graph.nodes):
        if node.op not in ("call_function", "get_attr") or is_random(node.target):
            continue
        key = (node.op, node.target, _hashable(node.args), _hashable(node.kwargs))
        first = seen.setdefault(key, node)
        if first is not node:
            node.replace_all_uses_with(first)
            graph.erase_node(node)


def _hashable(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_hashable, value))
    if isinstance(value, dict):
        return tuple((name, _hashable(item)) for name, item in value.items())
    return (type(value), repr(value) if isinstance(value, float) else value)
