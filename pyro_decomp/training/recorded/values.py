"""Values as Python expressions: numbers, containers, tensors, and what is made of these."""

import argparse
import dataclasses
import enum
import functools
import math
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_decomp.training.recorded.definitions import UnrecordedError
from pyro_decomp.training.recorded.tensors import Tensors

_PLAIN = (bool, int, str, bytes, complex, types.NoneType, types.EllipsisType, range, slice)
VALUES = (*_PLAIN, float, tuple, frozenset)  # one is as good as another that is equal
_CONTAINERS: dict[type, tuple[str, str]] = {
    tuple: ("(", ")"),
    list: ("[", "]"),
    dict: ("{", "}"),
    set: ("{", "}"),
    frozenset: ("frozenset({", "})"),
}


class Values(ABC):
    """Writes values as expressions of one text, in which one object stays one.

    Attributes:
        tensors: Those that the text uses.
    """

    def __init__(self) -> None:
        self.tensors = Tensors()
        self._known: dict[int, tuple[str, Any]] = {}  # by identity, which is kept alive
        self._open: list[int] = []

    def expression(self, thing: Any, name: str = "") -> str:
        """Python that gives this value, once all that it needs is written.

        Raises:
            UnrecordedError: There is none.
        """
        if id(thing) in self._known:
            return self._known[id(thing)][0]
        if type(thing) in _PLAIN:
            return repr(thing)
        if id(thing) in self._open:
            raise UnrecordedError("which holds itself")
        self._open.append(id(thing))
        try:
            return self._written(thing, name)
        finally:
            self._open.pop()

    def is_expression(self, thing: Any, text: str) -> str:
        """Note that a text gives this very object, and return the text."""
        self._known[id(thing)] = text, thing
        return text

    @abstractmethod
    def function(self, thing: Any, name: str) -> str:
        """Give the name of a function, once it is imported or copied."""

    @abstractmethod
    def klass(self, thing: type, name: str) -> str:
        """Give the name of a class, once it is imported or copied."""

    @abstractmethod
    def imported(self, thing: Any, name: str) -> str:
        """Give the name of what some module has, once it is imported."""

    @abstractmethod
    def module(self, thing: types.ModuleType, name: str) -> str:
        """Give the name of a module, once it is imported."""

    def _written(self, thing: Any, name: str) -> str:
        for kinds, write in _WRITERS:
            if isinstance(thing, kinds):
                return write(self, thing, name)
        if type(thing) in _CONTAINERS:
            return self._container(thing)
        if isinstance(thing, tuple) and hasattr(thing, "_fields"):
            items = ", ".join(map(self.expression, thing))
            return f"{self.expression(type(thing))}({items})"
        if dataclasses.is_dataclass(thing):
            return self._dataclass(thing, name)
        return self.imported(thing, name)

    def _container(self, thing: Any) -> str:
        start, end = _CONTAINERS[type(thing)]
        if isinstance(thing, dict):
            pairs = [f"{self.expression(k)}: {self.expression(v)}" for k, v in thing.items()]
            return start + ", ".join(pairs) + end
        items = [self.expression(item) for item in thing]
        if isinstance(thing, set | frozenset):
            items.sort()
            start, end = (start, end) if items else (f"{type(thing).__name__}(", ")")
        comma = "," if isinstance(thing, tuple) and len(items) == 1 else ""
        return start + ", ".join(items) + comma + end

    def _dataclass(self, thing: Any, name: str) -> str:
        try:
            is_its_fields = bool(dataclasses.replace(thing) == thing)
        except Exception:  # whatever its class raises
            is_its_fields = False
        if not is_its_fields:
            return self.imported(thing, name)
        fields = [f.name for f in dataclasses.fields(thing) if f.init]
        given = [f"{field}={self.expression(getattr(thing, field))}" for field in fields]
        return f"{self.expression(type(thing))}({', '.join(given)})"

    def _namespace(self, thing: Any, name: str) -> str:
        return f"{self.expression(type(thing))}(**{self.expression(vars(thing))})"

    def _partial(self, thing: Any, name: str) -> str:
        parts = [self.expression(part) for part in (thing.func, *thing.args)]
        parts += [f"{key}={self.expression(value)}" for key, value in thing.keywords.items()]
        return f"{self.expression(functools.partial)}({', '.join(parts)})"

    def _number(self, thing: Any, name: str) -> str:
        if type(thing) is not float:
            return f"{self.tensors.of_array(np.asarray(thing))}[()]"
        return repr(thing) if math.isfinite(thing) else f'float("{thing}")'

    def _path(self, thing: Any, name: str) -> str:
        kind = Path if isinstance(thing, Path) else PurePath
        return f"{self.expression(kind)}({str(thing)!r})"

    def _of_torch(self, thing: Any, name: str) -> str:
        of = self.module(torch, "")
        if isinstance(thing, torch.device | torch.Size):
            value = str(thing) if isinstance(thing, torch.device) else list(thing)
            return f"{of}.{type(thing).__name__}({value!r})"
        return f"{of}.{str(thing).removeprefix('torch.')}"

    def _member(self, thing: Any, name: str) -> str:
        return f"{self.expression(type(thing))}[{thing.name!r}]"

    def _tensor(self, thing: Tensor, name: str) -> str:
        return self.is_expression(thing, self.tensors.of_tensor(thing))

    def _array(self, thing: Any, name: str) -> str:
        return self.tensors.of_array(thing)

    def _method(self, thing: Any, name: str) -> str:
        return f"{self.expression(thing.__self__)}.{thing.__name__}"


_WRITERS: list[tuple[Any, Callable[[Any, Any, str], str]]] = [
    (enum.Enum, Values._member),
    ((float, np.generic), Values._number),
    (PurePath, Values._path),
    (
        (torch.dtype, torch.layout, torch.memory_format, torch.device, torch.Size),
        Values._of_torch,
    ),
    (types.ModuleType, lambda self, thing, name: self.module(thing, name)),
    (functools.partial, Values._partial),
    ((types.SimpleNamespace, argparse.Namespace), Values._namespace),
    (Tensor, Values._tensor),
    (np.ndarray, Values._array),
    (types.FunctionType, lambda self, thing, name: self.function(thing, name)),
    (types.MethodType, Values._method),
    (type, lambda self, thing, name: self.klass(thing, name)),
]


@contextmanager
def naming(name: str, thing: Any) -> Iterator[None]:
    """Say which name it was that could not be written, the innermost one."""
    try:
        yield
    except UnrecordedError as error:
        why = str(error)
        if why.startswith("`"):  # it is said already
            raise
        kind = type(thing).__name__
        article = "an" if kind[0].lower() in "aeiou" else "a"
        raise UnrecordedError(f"`{name}`, {why or f'{article} {kind}'}", error.remedy) from error
