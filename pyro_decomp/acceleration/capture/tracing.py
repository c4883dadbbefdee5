"""What a function of tensors computes, as a graph: traced while it runs once."""

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from pyro_decomp.acceleration.errors import CaptureError, HiddenValueError

aten = torch.ops.aten


class Kind(NamedTuple):
    """What is known of a node's tensor: under ``meta["kind"]`` of every node that is one."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def traced(function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> GraphModule:
    """Run a function once and give the operations that torch did, backward passes included.

    It does what ``make_fx`` does with real tensors, in a sixth of the time, and tells which inputs
    a value depends on that Python asks for.

    Args:
        function: Gives tensors that it computed. What it writes to tensors is in the graph, but
            for draws into new ones, which become operations that make a filled one.
        inputs: Its arguments; no two may be one tensor.

    Raises:
        HiddenValueError: It asks for the value of a tensor that depends on inputs or draws.
        CaptureError: It draws from a generator of its own.
    """
    tracer = _Tracer(inputs)
    cached = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)  # the cache would give tensors made elsewhere
    try:
        with tracer, _Reading(tracer):
            results = function(*inputs)
    finally:
        torch.set_autocast_cache_enabled(cached)
    return tracer.module(results)


def functional(module: GraphModule, inputs: Sequence[Tensor]) -> GraphModule:
    """A graph without operations that write to a tensor, traced once more where there are any.

    Raises:
        CaptureError: It writes to a tensor that is neither an input nor made in it.
    """
    if not any(n.op == "call_function" and is_writing(n.target) for n in module.graph.nodes):
        return module
    try:
        return traced(torch.func.functionalize(module), inputs)
    except RuntimeError as error:
        if "mutating a non-functional tensor" in str(error):
            raise CaptureError("the programs write to a tensor of their own") from error
        raise


def is_random(operation: Any) -> bool:
    """Whether an operation draws from a generator."""
    return torch.Tag.nondeterministic_seeded in getattr(operation, "tags", ())


def is_writing(operation: Any) -> bool:
    """Whether an operation writes to tensors that it is given."""
    schema = getattr(operation, "_schema", None)
    return operation in _WRITING_UNDECLARED or (schema is not None and schema.is_mutable)


_WRITING_UNDECLARED = {
    aten.native_batch_norm.default,
    aten.cudnn_batch_norm.default,
    aten.miopen_batch_norm.default,
}


# What fills a tensor with draws, and what makes a filled one.
_MAKING: dict[Any, Any] = {
    aten.normal_.default: aten.normal_functional.default,
    aten.uniform_.default: aten.uniform.default,
    aten.exponential_.default: aten.exponential.default,
    aten.random_.default: aten.random.default,
}


class _Tracer(TorchDispatchMode):
    """Adds every operation under it to a graph."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self._graph, self._constants = Graph(), nn.Module()
        self._nodes: dict[int, Node] = {}
        self._alive: list[Tensor] = []  # or an address could be given to another
        self._depends: dict[int, int] = {}  # memory to a bit for every input in it; 1 for draws
        for index, tensor in enumerate(inputs):
            self._know(tensor, self._graph.placeholder(f"input_{index}"))
            memory = memory_of(tensor)
            self._depends[memory] = self._depends.get(memory, 0) | 2 << index

    def refuse_if_known(self, tensor: Tensor) -> None:
        """Refuse that Python is given a tensor's values, if they depend on inputs or draws."""
        if depends := self._depends.get(memory_of(tensor), 0):
            raise HiddenValueError(inputs=_positions(depends))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes a second

    def module(self, results: Sequence[Tensor]) -> GraphModule:
        """The graph as a module that gives these results."""
        self._graph.output([self._node(result) for result in results])
        return GraphModule(self._constants, self._graph)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        given = tree_leaves((args, kwargs))
        if any(isinstance(each, torch.Generator) for each in given):
            raise CaptureError("the programs draw from a generator of their own")
        memory = [memory_of(each) for each in given if isinstance(each, Tensor)]
        depends = reduce(or_, (self._depends.get(each, 0) for each in memory), int(is_random(func)))
        if torch.Tag.data_dependent_output in func.tags:  # type: ignore[attr-defined]
            if depends:
                raise HiddenValueError(inputs=_positions(depends))
            tree_map_only(Tensor, self._node, given)  # a constant that is read
            return func(*args, **kwargs)
        if func is aten.lift_fresh.default:  # what is written to a constant must not change it
            func = aten.lift_fresh_copy.default
        filled = self._names(args[0]) if func in _MAKING else []
        mapped, named = tree_map_only(Tensor, self._node, (args, kwargs))
        node = self._graph.call_function(_MAKING[func] if filled else func, mapped, named)
        result = func(*args, **kwargs)
        for each in filled:
            self._know(each, node)
        self._know_result(result, node)
        if depends:
            changed = [result, given] if is_writing(func) else [result]
            tensors = [each for each in tree_leaves(changed) if isinstance(each, Tensor)]
            for key in map(memory_of, tensors):
                self._depends[key] = self._depends.get(key, 0) | depends
        return result

    def _know_result(self, result: Any, node: Node) -> None:
        if isinstance(result, Tensor):
            self._know(result, node)
        elif isinstance(result, list | tuple):
            for index, each in enumerate(result):
                if isinstance(each, Tensor):
                    self._know(each, self._graph.call_function(operator.getitem, (node, index)))

    def _know(self, tensor: Tensor, node: Node) -> None:
        node.meta["kind"] = Kind(tuple(tensor.shape), tensor.dtype, tensor.device)
        self._alive.append(tensor)
        self._nodes[id(tensor)] = node

    def _node(self, tensor: Tensor) -> Node:
        if id(tensor) not in self._nodes:  # a constant of the programs
            if memory_of(tensor) in self._depends:
                raise CaptureError("what the programs compute reaches them on hidden ways")
            name = f"constant_{len(self._alive)}"
            self._constants.register_buffer(name, tensor.detach(), persistent=False)
            self._know(tensor, self._graph.get_attr(name))
        return self._nodes[id(tensor)]

    def _names(self, tensor: Tensor) -> list[Tensor]:
        """All names of a tensor that the graph makes; none if one is a view of a part of it."""
        found = [each for each in self._alive if memory_of(each) == memory_of(tensor)]
        is_made = all(self._nodes[id(each)].op == "call_function" for each in found)
        layouts = {(each.shape, each.stride(), each.storage_offset()) for each in found}
        return found if is_made and len(layouts) == 1 else []


def _positions(depends: int) -> list[int]:
    """The inputs whose bits are set, -1 first for draws."""
    return [index - 1 for index in range(depends.bit_length()) if depends >> index & 1]


class _Reading(TorchFunctionMode):
    """Refuses what gives Python values without an operation on tensors."""

    def __init__(self, tracer: _Tracer) -> None:
        super().__init__()
        self._tracer = tracer

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in (Tensor.numpy, Tensor.tolist, Tensor.__array__):
            self._tracer.refuse_if_known(args[0])
        return func(*args, **(kwargs or {}))


def memory_of(tensor: Tensor) -> int:
    """What two tensors share of which one is a view of the other, or both of a third."""
    return tensor.untyped_storage()._cdata
