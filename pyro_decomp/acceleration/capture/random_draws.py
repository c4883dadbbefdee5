"""Random draws, sampled outside the graph of a step and passed in as inputs.

Sampled in the order of the program from the global generator, they are bit for bit what the
programs themselves would draw. The graph that is left has no randomness: it can be compiled, and
run for several members of an ensemble, each with draws of its own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Graph, GraphModule, Node

from pyro_decomp.acceleration.capture.tracing import is_random
from pyro_decomp.acceleration.errors import CaptureError

aten = torch.ops.aten


def lift(module: GraphModule, frozen: slice) -> GraphModule:
    """Make an input of a graph of every random draw in it, after its other inputs.

    Draws from a Normal whose parameters the graph computes become its location and scale applied to
    standard draws, which is how torch draws them. Other draws may depend on the inputs
    that are ``frozen``, which no step changes, such as the fixed weights of a mixture: the graph
    that is returned takes these and gives all draws. The module is to be recompiled afterwards,
    which simplifying it does.

    Raises:
        CaptureError: A draw of another kind depends on other inputs.
    """
    graph = module.graph
    for node in list(graph.nodes):
        if node.target in _STANDARD:
            with graph.inserting_before(node):
                value = _STANDARD[node.target](graph, node)
            value.meta = dict(node.meta)
            node.replace_all_uses_with(value)
            graph.erase_node(node)
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    depends = {*placeholders} - {*placeholders[frozen]}
    draws: list[Node] = []
    for node in graph.nodes:
        if not depends.isdisjoint(node.all_input_nodes):
            depends.add(node)
        if not is_random(node.target):
            continue
        if node in depends:
            name = str(node.target).split(".")[1]
            raise CaptureError(
                f"what '{name}' draws depends on parameters, data or buffers that steps change, so "
                "that it cannot be sampled outside the graph"
            )
        draws.append(node)
    sampler, copies = Graph(), dict[Node, Node]()
    for node in graph.nodes:
        if node not in depends and node.op != "output":
            copies[node] = sampler.node_copy(node, copies.__getitem__)
    sampler.output([copies[node] for node in draws])
    sampler.eliminate_dead_code()
    sampled = GraphModule(module, sampler)
    for index, node in reversed(list(enumerate(draws))):
        with graph.inserting_after(placeholders[-1]):
            given = graph.placeholder(f"draw_{index}")
        given.meta = dict(node.meta)
        node.replace_all_uses_with(given)
        graph.erase_node(node)
    graph.eliminate_dead_code()
    return sampled


def _empty(graph: Graph, like: Node) -> Node:
    kind = like.meta["kind"]
    named = {"dtype": kind.dtype, "device": kind.device}
    empty = graph.call_function(aten.empty.memory_format, (list(kind.shape),), named)
    empty.meta = dict(like.meta)
    return empty


def _filled(operation: Any, *settings: float) -> Callable[[Graph, Node], Node]:
    """What writes a draw that needs no more of its first argument than the shape."""

    def write(graph: Graph, node: Node) -> Node:
        rest, named = (settings, {}) if settings else (node.args[1:], node.kwargs)
        return graph.call_function(operation, (_empty(graph, node), *rest), dict(named))

    return write


def _scaled(graph: Graph, node: Node) -> Node:
    loc, scale, *_ = node.args
    standard = (_empty(graph, node), 0.0, 1.0)
    drawn = graph.call_function(aten.normal_functional.default, standard)
    drawn.meta = dict(node.meta)
    return graph.call_function(
        aten.add.Tensor, (graph.call_function(aten.mul.Tensor, (drawn, scale)), loc)
    )


# Draws of which no more than the shape depends on what the graph computes, by what they replace.
_FILLS = (aten.normal_functional, aten.uniform, aten.exponential, aten.random)
_STANDARD: dict[Any, Callable[[Graph, Node], Node]] = {
    **{each.default: _filled(each.default) for each in _FILLS},
    aten.bernoulli.p: _filled(aten.bernoulli.p),
    aten.randn_like.default: _filled(aten.normal_functional.default, 0.0, 1.0),
    aten.rand_like.default: _filled(aten.uniform.default, 0.0, 1.0),
    aten.normal.Tensor_Tensor: _scaled,
    aten.normal.Tensor_float: _scaled,
    aten.normal.float_Tensor: _scaled,
}
