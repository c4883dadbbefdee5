"""A recorded graph as one in which nothing writes to a tensor."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from pyro_decomp.acceleration.capture.recording import is_writing, record

aten = torch.ops.aten


def functional(module: GraphModule, inputs: Sequence[Tensor]) -> GraphModule:
    """The same values by operations that write to nothing.

    What fills a new tensor, as most random draws do, becomes the operation that makes a filled one;
    a graph in which there is other writing is run once more, under ``torch.func.functionalize``.

    Args:
        module: A recorded graph. It may be changed.
        inputs: What it was recorded with.

    Raises:
        RuntimeError: It writes to a tensor that is neither an input nor made in it.
    """
    writing = [n for n in module.graph.nodes if n.op == "call_function" and is_writing(n.target)]
    if all(map(_becomes_making, writing)):
        return module
    module.recompile()
    return record(torch.func.functionalize(module), inputs)


def _becomes_making(filling: Node) -> bool:
    """Let what fills an uninitialised tensor make one instead, if nothing saw it before."""
    filled = filling.args[0]
    while isinstance(filled, Node) and filled.target is aten.detach.default:
        filled = filled.args[0]
    if filling.target not in _MAKING or not isinstance(filled, Node) or filled.target not in _EMPTY:
        return False
    names = {filled, *_detached(filled, filling)}
    if any(user < filling and user not in names for name in names for user in name.users):
        return False
    filling.target = _MAKING[filling.target]
    for name in names:
        name.replace_all_uses_with(filling, lambda user: filling < user)
    return True


def _detached(tensor: Node, filling: Node) -> Iterator[Node]:
    """Other names of a tensor when it is filled."""
    for user in tensor.users:
        if user.target is aten.detach.default and user < filling:
            yield user
            yield from _detached(user, filling)


_EMPTY = {aten.empty.memory_format, aten.empty_like.default, aten.new_empty.default}
_MAKING: dict[Any, Any] = {
    aten.normal_.default: aten.normal_functional.default,
    aten.uniform_.default: aten.uniform.default,
    aten.exponential_.default: aten.exponential.default,
    aten.random_.default: aten.random.default,
}
