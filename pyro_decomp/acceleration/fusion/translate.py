"""A captured graph as values, each node by the table of operations."""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from pyro_decomp.acceleration.errors import FusionError
from pyro_decomp.acceleration.fusion.calls import called
from pyro_decomp.acceleration.fusion.indexing import contiguous
from pyro_decomp.acceleration.fusion.operations import applied
from pyro_decomp.acceleration.fusion.values import Number, Stored, Value, kind_of, literal
from pyro_decomp.acceleration.fusion.views import copied


class Translation:
    """The values of a graph's nodes.

    Args:
        module: The graph, functional, of one floating type.
        inputs: What it is to be given, or the like of it.

    Attributes:
        real: That type.
        outputs: What it gives.
        kinds: C types of the inputs and constants, in the order of their pointers.
        constants: Tensors whose pointers follow those of the inputs.

    Raises:
        FusionError: It has an operation that is not written as C.
    """

    def __init__(self, module: GraphModule, inputs: Sequence[Tensor]) -> None:
        self.real = _real(inputs)
        self.kinds = [self._kind(tensor) for tensor in inputs]
        self.constants: list[Tensor] = []
        self._module = module
        self._given = iter(enumerate(inputs))
        values: dict[Node, Any] = {}
        for node in module.graph.nodes:
            if node.op == "output":
                self.outputs: list[Value] = list(map_arg(node.args[0], values.__getitem__))
            else:
                values[node] = self._checked(node, self._value(node, values))
        if not all(isinstance(value, Value) for value in self.outputs):
            raise FusionError("an output that is no tensor")

    def _value(self, node: Node, values: dict[Node, Any]) -> Any:
        if node.op == "placeholder":
            number, tensor = next(self._given)
            shape = tuple(tensor.shape)
            if not tensor.numel():
                raise FusionError("a tensor of no numbers")
            return Stored(shape, self.kinds[number], number, contiguous(shape))
        if node.op == "get_attr":
            return self._constant(getattr(self._module, str(node.target)))
        args: Any = map_arg(node.args, values.__getitem__)
        named: Any = map_arg(node.kwargs, values.__getitem__)
        if node.target is operator.getitem:
            return args[0][args[1]]
        found = called(node.target, args, self.real)
        return applied(node.target, args, named) if found is None else found

    def _checked(self, node: Node, value: Any) -> Any:
        """A value, if it is of the type that torch gives it."""
        known = node.meta.get("kind")
        if known is None or not isinstance(value, Value):
            return value
        if known.device.type != "cpu":
            raise FusionError(f"{node.target} on {known.device}: C is for the processor")
        if kind_of(known.dtype, self.real) != value.kind or known.shape != value.shape:
            raise FusionError(f"{node.target} of {known.dtype} beside {self.real}")
        return value

    def _constant(self, tensor: Tensor) -> Value:
        """One number where all are the same; no more memory than there are different ones."""
        kind, shape = self._kind(tensor), tuple(tensor.shape)
        if not tensor.numel():
            raise FusionError("a tensor of no numbers")
        for dim in range(tensor.dim()):
            first = tensor.narrow(dim, 0, 1)
            if torch.equal(first.expand_as(tensor), tensor):
                tensor = first
        if tensor.numel() == 1:
            return Number(shape, kind, literal(tensor.item(), kind))
        kept = tensor.contiguous()
        strides = [0 if n == 1 else s for n, s in zip(kept.shape, kept.stride(), strict=True)]
        self.constants.append(kept)
        self.kinds.append(kind)
        number = len(self.kinds) - 1
        stored = Stored(shape, kind, number, tuple(strides), kept.expand(shape))
        return copied(stored)  # as a call needs what is contiguous

    def _kind(self, tensor: Tensor) -> Any:
        kind = kind_of(tensor.dtype, self.real)
        if kind is None:
            raise FusionError(f"tensors of {tensor.dtype} beside {self.real}")
        return kind


def _real(inputs: Sequence[Tensor]) -> torch.dtype:
    """The widest floating type; of the others, 32 bits are read as what they are."""
    found = {tensor.dtype for tensor in inputs if tensor.is_floating_point()}
    if not found or not found <= {torch.float32, torch.float64}:
        names = ", ".join(sorted(map(str, found))) or "none"
        raise FusionError(f"expected numbers of 32 or of 64 bits, got {names}")
    if not all(tensor.is_cpu for tensor in inputs):
        raise FusionError("C is for the processor")
    return max(found, key=lambda dtype: torch.finfo(dtype).bits)
