"""Random draws taken out of a captured graph, to be drawn beforehand and given as inputs.

Drawn in the order of the program from the global generator, they are bit for bit what the programs
themselves would draw. The graph that is left has no randomness: it can be compiled, and run for
several members of an ensemble, each with draws of its own.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from pyro_decomp.acceleration.capture.recording import is_random
from pyro_decomp.acceleration.errors import CaptureError

aten = torch.ops.aten


def lift(module: GraphModule) -> GraphModule:
    """Make an input of every random draw, after the others, and give what draws them all.

    The module is to be recompiled afterwards, which simplifying it does.

    Draws from a Normal whose parameters the graph computes become its location and scale applied to
    standard draws, which is how torch draws them.

    Raises:
        CaptureError: A draw of another kind depends on what the graph computes.
    """
    _standardise(module)
    graph = module.graph
    depends: dict[Node, bool] = {}
    draws: list[Node] = []
    for node in graph.nodes:
        depends[node] = node.op == "placeholder" or any(depends[n] for n in node.all_input_nodes)
        if not is_random(node.target):
            continue
        if depends[node]:
            name = str(node.target).split(".")[1]
            raise CaptureError(
                f"what '{name}' draws depends on parameters or data, so that it cannot be drawn "
                "beforehand"
            )
        draws.append(node)
    drawn = _program(module, draws)
    last = max((n for n in graph.nodes if n.op == "placeholder"), key=list(graph.nodes).index)
    for index, node in reversed(list(enumerate(draws))):
        with graph.inserting_after(last):
            given = graph.placeholder(f"draw_{index}")
        given.meta = dict(node.meta)
        node.replace_all_uses_with(given)
        graph.erase_node(node)
    graph.eliminate_dead_code()
    return drawn


def can_be_lifted(operation: Any) -> bool:
    """Whether a draw can be taken out also where its arguments depend on what is computed."""
    return operation in _NORMAL or operation in _FILLING


def _standardise(module: GraphModule) -> None:
    """Write draws so that no more than their shape depends on what the graph computes."""
    graph = module.graph
    for node in list(graph.nodes):
        if node.target in _FILLS:
            with graph.inserting_before(node):
                node.update_arg(0, _empty(graph, node))
        elif node.target in _LIKE:
            with graph.inserting_before(node):
                value = graph.call_function(*_LIKE[node.target](_empty(graph, node)))
            _replace(graph, node, value)
        elif node.target in _NORMAL:
            loc, scale = node.args[:2]
            with graph.inserting_before(node):
                standard = (_empty(graph, node), 0.0, 1.0)
                drawn = graph.call_function(aten.normal_functional.default, standard)
                drawn.meta = dict(node.meta)
                scaled = graph.call_function(aten.mul.Tensor, (drawn, scale))
                value = graph.call_function(aten.add.Tensor, (scaled, loc))
            _replace(graph, node, value)


def _replace(graph: Graph, node: Node, value: Node) -> None:
    value.meta = dict(node.meta)
    node.replace_all_uses_with(value)
    graph.erase_node(node)


_NORMAL = {aten.normal.Tensor_Tensor, aten.normal.Tensor_float, aten.normal.float_Tensor}
_LIKE = {
    aten.randn_like.default: lambda empty: (aten.normal_functional.default, (empty, 0.0, 1.0)),
    aten.rand_like.default: lambda empty: (aten.uniform.default, (empty, 0.0, 1.0)),
}
# Of the tensor that these are given no more than the shape matters.
_FILLS = {
    aten.normal_functional.default,
    aten.uniform.default,
    aten.exponential.default,
    aten.bernoulli.p,
    aten.random.default,
}
# The same as programs call them, before a graph is made free of writing.
_FILLING = {
    aten.normal_.default,
    aten.uniform_.default,
    aten.exponential_.default,
    aten.bernoulli_.float,
    aten.random_.default,
    *_LIKE,
}


def _empty(graph: Graph, like: Node) -> Node:
    kind = like.meta["kind"]
    empty = graph.call_function(
        aten.empty.memory_format,
        (list(kind.shape),),
        {"dtype": kind.dtype, "device": kind.device},
    )
    empty.meta = dict(like.meta)
    return empty


def _program(module: GraphModule, draws: Sequence[Node]) -> GraphModule:
    """The draws, with what they need, as a graph without inputs."""
    needed: set[Node] = set()
    waiting = list(draws)
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += node.all_input_nodes
    graph = Graph()
    copies: dict[Node, Node] = {}
    for node in module.graph.nodes:
        if node in needed:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output([copies[node] for node in draws])
    return GraphModule(module, graph)
