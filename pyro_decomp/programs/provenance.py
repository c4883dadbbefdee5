"""Which inputs the values of tensors come from, followed through every operation of torch."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# These take the shape, type and device of a tensor, and nothing of its values.
_OF_SHAPE = {
    *("empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like"),
    *("randint_like", "new_empty", "new_empty_strided", "new_zeros", "new_ones", "new_full"),
}


class Provenance(TorchDispatchMode):
    """Follows names through all that is computed under it.

    Unlike Pyro's, which wraps tensors, it is seen by no program and follows no operation that takes
    only a shape. Views of one tensor share its names; numbers of Python lose theirs.
    """

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[int, frozenset[str]] = {}
        self._alive: list[Tensor] = []  # or an address could be given to another

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler, which takes a second

    def of(self, tensor: Tensor) -> frozenset[str]:
        """The names of what a tensor's values come from."""
        return self._names.get(_memory(tensor), frozenset())

    def set(self, tensor: Tensor, names: Iterable[str]) -> None:
        """From now on these are a tensor's names."""
        self._alive.append(tensor)
        self._names[_memory(tensor)] = frozenset(names)

    def add(self, tensor: Tensor, names: Iterable[str]) -> None:
        """From now on these are among a tensor's names."""
        self.set(tensor, self.of(tensor).union(names))

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func._schema.name.partition("::")[2] in _OF_SHAPE:
            return result
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        names = frozenset().union(*map(self.of, given))
        if names:
            changed = given[:1] if func._schema.is_mutable else []
            for tensor in (*changed, *tree_leaves(result)):
                if isinstance(tensor, Tensor):
                    self.add(tensor, names)
        return result


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)
