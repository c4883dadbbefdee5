"""One copying of things that reach each other, and what cannot be copied (internal)."""

import random
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from pyro_decomp.errors import ModelError
from pyro_decomp.programs.program_state.kept_values import memory_of
from pyro_decomp.programs.program_state.reachable import PLAIN
from pyro_decomp.programs.program_state.slots import ABSENT, ByType
from pyro_decomp.programs.program_state.walk import walk

LARGE = 1 << 22  # bytes; the memory of a larger plain tensor or array, such as data, is shared

Copy = Callable[["Copier", Any], Any]
"""Makes the copy of a thing of some types."""


class Copier:
    """One copying of things that may reach each other.

    Attributes:
        memo: The copy of each thing by its identity, of the form that ``__deepcopy__`` takes.
        modules: Copies of the user's Python modules, by the identity of their variables.
    """

    def __init__(
        self, roots: Mapping[str, Any], data: Iterable[Tensor], ways: ByType[Copy]
    ) -> None:
        self._roots, self._ways = roots, ways
        self._memories = {memory_of(tensor) for tensor in data}
        self.memo: dict[int, Any] = {}
        self._alive: list[Any] = []  # or an address could be given to another
        self.modules: dict[int, ModuleType] = {}
        self._named: set[tuple[int, str]] = set()
        globals_: list[Any] = [random._inst, np.random.mtrand._rand]
        for each in (*globals_, torch.default_generator, pyro.get_param_store()):
            self.memo[id(each)] = each

    def copy(self, thing: Any) -> Any:
        """The copy of a thing, one for each."""
        if type(thing) in PLAIN or isinstance(thing, type):
            return thing
        found = self.memo.get(id(thing), ABSENT)
        return (
            found if found is not ABSENT else self.keep(thing, self._ways[type(thing)](self, thing))
        )

    def keep(self, thing: Any, made: Any) -> Any:
        """Note the copy of a thing, so that what it is in has this one."""
        self.memo[id(thing)] = made
        self._alive.append(thing)
        return made

    def is_of_data(self, tensor: Tensor) -> bool:
        """Whether a tensor looks at the memory of data."""
        return memory_of(tensor) in self._memories

    def is_shared(self, tensor: Tensor) -> bool:
        """Whether a tensor is left as it is."""
        if isinstance(tensor, nn.Parameter) or tensor.requires_grad:
            return not tensor.is_leaf  # which its graph makes again
        is_large = tensor.layout == torch.strided and tensor.untyped_storage().nbytes() >= LARGE
        return is_large or self.is_of_data(tensor)

    def variables(self, variables: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
        """The copy of a Python module's variables, in which what has some names is copied."""
        if id(variables) not in self.modules:
            self.modules[id(variables)] = ModuleType(str(variables.get("__name__")))
            vars(self.modules[id(variables)]).update(variables)
            self._alive.append(variables)
        copies = vars(self.modules[id(variables)])
        for name in names:
            if name in variables and (id(variables), name) not in self._named:
                self._named.add((id(variables), name))
                copies[name] = self.copy(variables[name])
        return copies

    def refusal(self, thing: Any, why: object) -> ModelError:
        """An error that names a thing by its path."""
        paths = (node.path for node in walk(self._roots) if node.thing is thing)
        return refused(next(paths, f"a {type(thing).__name__}"), why)


def refused(path: str, why: object) -> ModelError:
    """The error for something that cannot be copied."""
    return ModelError(
        f"{path}: expected something that the run can have a copy of, as training leaves what it "
        f"is given as it was, got what cannot be copied: {why} (make it an attribute of a network "
        "or object, or give train a function that makes it and returns the experiment)"
    )


def is_trained(thing: Any) -> bool:
    """Whether a thing is a network with tensors of its own, or a tensor that can be trained."""
    if isinstance(thing, nn.Module):
        return any(True for _ in (*thing.parameters(), *thing.buffers()))
    return isinstance(thing, Tensor) and thing.is_leaf and thing.requires_grad
