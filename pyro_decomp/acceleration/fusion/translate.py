"""A captured graph as values, each node by the table of operations."""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from pyro_decomp.acceleration.errors import FusionError
from pyro_decomp.acceleration.fusion.calls import called
from pyro_decomp.acceleration.fusion.operations import applied
from pyro_decomp.acceleration.fusion.values import (
    Kind,
    Number,
    Stored,
    Value,
    expanded,
    kind_of,
    literal,
)


class Translation(Interpreter):
    """Runs a graph with values in place of tensors.

    Attributes:
        real: That type.
        outputs: What it gives.
        kinds: C types of the inputs and constants, in the order of their pointers.
        constants: Tensors whose pointers follow those of the inputs.

    Raises:
        FusionError: It has an operation that is not written as C.
    """

    def __init__(self, module: GraphModule, inputs: Sequence[Tensor]) -> None:
        super().__init__(module)
        self.extra_traceback = False  # which is put in front of the message of an error
        self.real = _real(inputs)
        self.kinds: list[Kind] = []
        self.constants: list[Tensor] = []
        self.outputs: list[Value] = list(self.run(*map(self._stored, inputs)))
        if not all(isinstance(value, Value) for value in self.outputs):
            raise FusionError("an output that is no tensor")

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Value:
        """A constant: one number where all are the same, and what is expanded once."""
        tensor: Tensor = super().get_attr(target, args, kwargs)
        first = tensor.flatten()[:1]
        if tensor.numel() and bool((tensor == first).all()):
            kind = self._kind(tensor)
            return Number(tuple(tensor.shape), kind, literal(first.item(), kind))
        once = tensor[tuple(slice(None if step else 1) for step in tensor.stride())]
        self.constants.append(once.contiguous())
        return expanded(self._stored(once), tensor.shape)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """What an operation gives, as values."""
        if target is operator.getitem:
            return args[0][args[1]]
        found = called(target, args, self.real)
        return applied(target, args, kwargs) if found is None else found

    def run_node(self, n: Node) -> Any:
        """What a node gives, if it is of the type that torch gives it."""
        value, known = super().run_node(n), n.meta.get("kind")
        if known is None or not isinstance(value, Value):
            return value
        if known.device.type != "cpu":
            raise FusionError(f"{n.target} on {known.device}: C is for the processor")
        if kind_of(known.dtype, self.real) != value.kind or known.shape != value.shape:
            raise FusionError(f"{n.target} of {known.dtype} beside {self.real}")
        return value

    def _stored(self, tensor: Tensor) -> Value:
        """What the next pointer leads to."""
        if not tensor.numel():
            raise FusionError("a tensor of no numbers")
        self.kinds.append(self._kind(tensor))
        return Stored(tuple(tensor.shape), self.kinds[-1], len(self.kinds) - 1)

    def _kind(self, tensor: Tensor) -> Kind:
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
