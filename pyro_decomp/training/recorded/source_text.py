"""A module's text that has a function, and of the functions, classes and values only what it uses."""

import argparse
import builtins
import dataclasses
import enum
import functools
import inspect
import itertools
import math
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_decomp.training.recorded.definitions import (
    Definition,
    UnrecordedError,
    definition_of,
    own_functions,
)
from pyro_decomp.training.recorded.importable import folder_of, home_of, is_importable, submodules
from pyro_decomp.training.recorded.tensors import Tensors

EXPERIMENT = "experiment"
_PLAIN = (bool, int, str, bytes, complex, types.NoneType, types.EllipsisType, range, slice)
_OF_TORCH = (torch.dtype, torch.layout, torch.memory_format)


@dataclasses.dataclass(frozen=True)
class SourceText:
    """A text that makes a function again.

    Args:
        text: Python, in which the function is called ``experiment``.
        tensors: What it calls ``_tensors``: the values of tensors and arrays.
        folders: The folders from which it imports.
    """

    text: str
    tensors: Mapping[str, Tensor]
    folders: tuple[Path, ...]


def source_text(function: Callable[..., Any]) -> SourceText:
    """Write down a function with what it reaches, so that another process can make it.

    Functions and classes of its own file, or of cells, are copied; those of other modules are
    imported; values are as they are now. Nothing else at the top of the file is run again.

    Raises:
        UnrecordedError: Something that it uses is no value, function, class or module.
    """
    namespace = getattr(inspect.unwrap(_function_of(function)), "__globals__", {})
    writer = _Writer(namespace)
    given = writer.named(EXPERIMENT, function)
    if given != EXPERIMENT:
        if EXPERIMENT in writer.globals:
            raise UnrecordedError(
                f"`{EXPERIMENT}`, which `{given}` uses, has the name that it gets itself: rename it"
            )
        writer.lines.append(f"{EXPERIMENT} = {given}")
    return SourceText(writer.text(), dict(writer.tensors.by_key), tuple(writer.folders))


def _function_of(thing: Any) -> Any:
    while isinstance(thing, functools.partial):
        thing = thing.func
    return getattr(thing, "__func__", thing)


class _Writer:
    """Writes lines, each after those that it needs."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self.namespace = namespace
        self.lines: list[str] = []  # values, and definitions, which have several
        self.imports: dict[str, None] = {}
        self.tensors = Tensors()
        self.folders: dict[Path, None] = {}
        self.globals: dict[str, Any] = {}  # what the text has, by name
        self.has_future = False
        self._expressions: dict[int, tuple[str, Any]] = {}  # by identity, which is kept alive
        self._open: list[int] = []

    def text(self) -> str:
        """All that was written."""
        future = ["from __future__ import annotations\n\n"] if self.has_future else []
        parts = [*future, "".join(f"{line}\n" for line in sorted(self.imports))]
        for before, line in itertools.pairwise(["", *self.lines]):
            is_apart = "\n" in line or "\n" in before or not before
            parts.append(("\n\n" if is_apart else "") + line + "\n")
        return "".join(parts).lstrip("\n")

    def named(self, name: str, thing: Any) -> str:
        """The expression of what the namespace or a variable calls by this name."""
        with _telling(f"`{name}`", thing):
            return self.expression(thing, name)

    def take(self, name: str, chains: set[str], *, is_needed: bool) -> None:
        """See to it that a global name of the function's file means in the text what it means."""
        if name in self.namespace and (not name.startswith("__") or name == "__file__"):
            thing = self.namespace[name]
        elif name in vars(builtins):
            thing = vars(builtins)[name]
            if getattr(thing, "__module__", None) in (None, "builtins", "_sitebuiltins", "io"):
                return
        elif is_needed and not self.has_future and not name.startswith("__"):
            raise UnrecordedError(f"`{name}`, which is not defined where it is used")
        else:
            return
        if isinstance(thing, types.ModuleType):
            for module in submodules(thing, name, iter(chains)):
                self._import(module)
        if name in self.globals:
            return
        self.globals[name] = thing
        expression = self.named(name, thing)
        if expression != name:
            self.lines.append(f"{name} = {expression}")

    def expression(self, thing: Any, name: str = "") -> str:
        """Python that gives this value, where all that it needs is written already.

        Args:
            thing: The value.
            name: What it is called where it is used.

        Raises:
            UnrecordedError: There is none.
        """
        if id(thing) in self._expressions:
            return self._expressions[id(thing)][0]
        if type(thing) in _PLAIN:
            return repr(thing)
        if id(thing) in self._open:
            raise UnrecordedError("which holds itself")
        self._open.append(id(thing))
        try:
            text = self._written(thing, name)
        finally:
            self._open.pop()
        if name and self.globals.get(name, _none) is thing:  # other places have the same object
            self._expressions.setdefault(id(thing), (name, thing))
        return text

    def _written(self, thing: Any, name: str) -> str:
        kind = type(thing)
        for kinds, write in _WRITERS:
            if isinstance(thing, kinds):
                return write(self, thing, name)
        if kind in _CONTAINERS:
            return self._container(thing)
        if isinstance(thing, tuple) and hasattr(thing, "_fields"):
            items = ", ".join(self.expression(item) for item in thing)
            return f"{self.expression(kind)}({items})"
        if dataclasses.is_dataclass(thing):
            return self._dataclass(thing, name)
        return self._imported(thing, name)

    def _container(self, thing: Any) -> str:
        start, end = _CONTAINERS[type(thing)]
        if isinstance(thing, dict):
            pairs = [(self.expression(k), self.expression(v)) for k, v in thing.items()]
            return "{" + ", ".join(f"{k}: {v}" for k, v in pairs) + "}"
        items = [self.expression(item) for item in thing]
        if isinstance(thing, set | frozenset):
            items.sort()
        comma = "," if isinstance(thing, tuple) and len(items) == 1 else ""
        return start + ", ".join(items) + comma + end

    def _dataclass(self, thing: Any, name: str) -> str:
        try:
            same = bool(dataclasses.replace(thing) == thing)
        except Exception:  # whatever its class raises
            same = False
        if not same:
            return self._imported(thing, name)
        fields = dataclasses.fields(thing)
        given = [f"{f.name}={self.expression(getattr(thing, f.name))}" for f in fields if f.init]
        return f"{self.expression(type(thing))}({', '.join(given)})"

    def namespace_object(self, thing: Any, name: str) -> str:
        """Of an object that is only its attributes."""
        return f"{self.expression(type(thing))}(**{self.expression(vars(thing))})"

    def partial(self, thing: Any, name: str) -> str:
        """Of a partial."""
        parts = [self.expression(part) for part in (thing.func, *thing.args)]
        parts += [f"{key}={self.expression(value)}" for key, value in thing.keywords.items()]
        return f"{self.expression(functools.partial)}({', '.join(parts)})"

    def number(self, thing: Any, name: str) -> str:
        """Of a float, also one that is infinite or not a number."""
        if type(thing) is not float:
            return self.array(np.asarray(thing), name) + "[()]"
        return repr(thing) if math.isfinite(thing) else f'float("{thing}")'

    def path(self, thing: Any, name: str) -> str:
        """Of a path."""
        return f"{self._import('pathlib')}.{type(thing).__name__}({str(thing)!r})"

    def of_torch(self, thing: Any, name: str) -> str:
        """Of a type, a layout or a device of torch, or of a size."""
        torch_ = self._import("torch")
        if isinstance(thing, torch.device):
            return f"{torch_}.device({str(thing)!r})"
        if isinstance(thing, torch.Size):
            return f"{torch_}.Size({list(thing)})"
        return f"{torch_}.{str(thing).removeprefix('torch.')}"

    def member(self, thing: Any, name: str) -> str:
        """Of a member of an enumeration."""
        return f"{self.expression(type(thing))}[{thing.name!r}]"

    def module(self, thing: Any, name: str) -> str:
        """Of a module."""
        if self.globals.get(name) is not thing:
            name = self._free(name or thing.__name__.rpartition(".")[2])
            self.globals[name] = thing
        return self._import(thing.__name__, name)

    def tensor(self, thing: Tensor, name: str) -> str:
        """Of a tensor; all places of one have the same."""
        text = self.tensors.of_tensor(thing)
        self._expressions[id(thing)] = text, thing
        return text

    def array(self, thing: Any, name: str) -> str:
        """Of an array of numpy."""
        return self.tensors.of_array(thing)

    def method(self, thing: Any, name: str) -> str:
        """Of a method that is bound to a class."""
        return f"{self.expression(thing.__self__)}.{thing.__name__}"

    def function(self, thing: types.FunctionType, name: str) -> str:
        """Of a function: its name, once it is imported or copied."""
        raw = inspect.unwrap(thing)
        if not isinstance(raw, types.FunctionType) or raw.__globals__ is not self.namespace:
            return self._imported(thing, name)
        definition = definition_of(raw)
        is_global = self.namespace.get(definition.name) is thing
        if raw is not thing and not (is_global and definition.decorators):
            raise UnrecordedError(f"which wraps `{raw.__name__}`: use it as a decorator")
        definition = definition if is_global else definition.undecorated()
        self._check_defaults(raw, definition)
        return self._copied(thing, name, definition, _closure(raw))

    def klass(self, thing: type, name: str) -> str:
        """Of a class: its name, once it is imported or copied."""
        functions = own_functions(thing)
        of_file = self.namespace.get("__name__") == thing.__module__
        if not of_file or any(f.__globals__ is not self.namespace for f in functions):
            return self._imported(thing, name)
        closure = {k: v for f in functions for k, v in _closure(f).items() if k != "__class__"}
        definition = definition_of(thing)
        if self.namespace.get(definition.name) is not thing:
            definition = definition.undecorated()
        return self._copied(thing, name, definition, closure)

    def _copied(
        self, thing: Any, name: str, definition: Definition, closure: Mapping[str, Any]
    ) -> str:
        """Write a definition, with what it needs before and after it."""
        self.has_future |= definition.has_future
        own, indent = definition.name, definition.indent if definition.name else ""
        if rebound := definition.rebound & closure.keys():
            raise UnrecordedError(f"which changes `{min(rebound)}` of the function around it")
        is_own = self.namespace.get(own or name, _none) is thing
        target = (own or name) if is_own else self._free(own or name or "function")
        self._expressions[id(thing)] = target, thing
        self.globals[target] = thing
        at_once, later = definition.names
        chains = definition.chains
        for each in at_once:
            if each not in closure:
                self.take(each, chains, is_needed=True)
        space = indent or "    "
        variables = []
        for variable, value in closure.items():
            written = variable if value is thing else self.named(variable, value)
            if written != variable:
                variables.append(f"{space}{variable} = {written}")
        body = list(definition.lines)
        if not own:
            body = [f"({line}" if not i else line for i, line in enumerate(body)]
            body[-1] += ")"
        if not own and not variables:
            self.lines.append("\n".join([f"{target} = {body[0]}", *body[1:]]))
        elif target == own and not variables:
            self.lines.append("\n".join([*(["if True:"] if indent else []), *body]))
        else:  # a function of its own gives it its variables, or its name
            factory = self._free(f"make_{target}")
            self.globals[factory] = None
            result = [f"{space}return {own}"] if own else [f"{space}return {body[0]}", *body[1:]]
            inner = [line if indent or not line else space + line for line in body if own]
            made = [f"def {factory}():", *variables, *inner, *result]
            self.lines += ["\n".join(made), f"{target} = {factory}()"]
        for each in later:
            if each not in closure:
                self.take(each, chains, is_needed=False)
        return target

    def _check_defaults(self, function: types.FunctionType, definition: Definition) -> None:
        """Hold defaults that are names against what these mean now.

        Raises:
            UnrecordedError: They mean something else.
        """
        arguments = definition.node.args  # type: ignore[union-attr]
        positional = [*arguments.posonlyargs, *arguments.args]
        pairs = list(zip(positional[::-1], arguments.defaults[::-1], strict=False))
        pairs += [(a, d) for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d]
        for argument, default in pairs:
            name = getattr(default, "id", None)
            value = inspect.signature(function, follow_wrapped=False).parameters[argument.arg].default
            if name is not None and self.namespace.get(name, vars(builtins).get(name)) is not value:
                raise UnrecordedError(f"whose default `{name}` is another by now")

    def _imported(self, thing: Any, name: str) -> str:
        found = home_of(thing, name)
        if found is None:
            raise UnrecordedError("")
        module, dotted = found
        first, _, rest = dotted.partition(".")
        self._from(module)
        is_own = self.namespace.get(name, _none) is thing and not rest and name
        alias = name if is_own else self._free(first)
        as_ = f" as {alias}" if alias != first else ""
        self.imports[f"from {module} import {first}{as_}"] = None
        self.globals.setdefault(alias, thing)
        text = f"{alias}.{rest}" if rest else alias
        self._expressions[id(thing)] = text, thing
        return text

    def _import(self, module: str, name: str = "") -> str:
        """Import a module, and give what it is called."""
        if not is_importable(module):
            raise UnrecordedError("a module that cannot be imported elsewhere")
        self._from(module)
        if not name:
            line, name = f"import {module}", module
            first = module.partition(".")[0]
            if "." not in module and self.namespace.get(first, _none) is not _none:
                found = self.namespace[first]
                if getattr(found, "__name__", None) != module:
                    name = self._free(first)
                    line = f"import {module} as {name}"
        else:
            line = f"import {module}" if name == module else f"import {module} as {name}"
        self.imports[line] = None
        return name

    def _from(self, module: str) -> None:
        folder = folder_of(module)
        if folder is not None:
            self.folders[folder] = None

    def _free(self, name: str) -> str:
        """A name that neither the text nor the file has."""
        if name not in self.globals and name not in self.namespace:
            return name
        count = 2
        while f"_{name}_{count}" in self.globals or f"_{name}_{count}" in self.namespace:
            count += 1
        return f"_{name}_{count}"


_none = object()
_CONTAINERS = {tuple: "()", list: "[]", dict: "{}", set: ("{", "}"), frozenset: ("frozenset({", "})")}
_WRITERS: list[tuple[Any, Callable[[Any, Any, str], str]]] = [
    (enum.Enum, _Writer.member),
    ((float, np.generic), _Writer.number),
    (PurePath, _Writer.path),
    ((*_OF_TORCH, torch.device, torch.Size), _Writer.of_torch),
    (types.ModuleType, _Writer.module),
    (functools.partial, _Writer.partial),
    ((types.SimpleNamespace, argparse.Namespace), _Writer.namespace_object),
    (Tensor, _Writer.tensor),
    (np.ndarray, _Writer.array),
    (types.FunctionType, _Writer.function),
    (types.MethodType, _Writer.method),
    (type, _Writer.klass),
]


def _closure(function: types.FunctionType) -> dict[str, Any]:
    """The variables of the functions around a function, by name, that it uses."""
    found = {}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        try:
            found[name] = cell.cell_contents
        except ValueError:  # it is not assigned yet
            continue
    return found


@contextmanager
def _telling(name: str, thing: Any) -> Iterator[None]:
    """Say which name it was that could not be written."""
    try:
        yield
    except UnrecordedError as error:
        why = str(error)
        if why.startswith("`"):  # it is said already
            raise
        kind = type(thing).__name__
        article = "an" if kind[0].lower() in "aeiou" else "a"
        raise UnrecordedError(f"{name}, {why or f'{article} {kind}'}") from error
