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
    graph, values = module.graph, _Constants(module)
    for node in list(graph.nodes):
        value = values.of(node)
        if node.op != "call_function" or not isinstance(value, Tensor):
            continue
        if all(values.of(user) is not None for user in node.users):
            continue  # only constants need it
        name = f"_folded_{node.name}"
        module.register_buffer(name, value, persistent=False)
        with graph.inserting_before(node):
            constant = graph.get_attr(name)
        constant.meta = dict(node.meta)
        node.replace_all_uses_with(constant)
    graph.eliminate_dead_code()


class _Constants:
    """Values of the nodes of a graph that depend on no input and on no draw."""

    def __init__(self, module: GraphModule) -> None:
        self._values: dict[Node, Any] = {}
        interpreter = Interpreter(module)
        for node in module.graph.nodes:
            if node.op == "get_attr":
                interpreter.env[node] = self._values[node] = interpreter.run_node(node)
                continue
            if node.op != "call_function" or is_random(node.target):
                continue
            if all(n in self._values for n in node.all_input_nodes):
                value = interpreter.run_node(node)
                if not isinstance(value, Tensor) or value.numel() <= LARGEST_CONSTANT:
                    interpreter.env[node] = self._values[node] = value

    def of(self, node: Node) -> Any:
        """Its value; None if it is no constant."""
        return self._values.get(node)


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
