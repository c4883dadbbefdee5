"""The text of a module that has a function, and beside it only what that uses."""

import ast
import builtins
import dataclasses
import functools
import inspect
import itertools
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pyro_decomp.training.recorded.definitions import (
    Definition,
    UnrecordedError,
    definition_of,
    own_functions,
)
from pyro_decomp.training.recorded.importable import (
    Importable,
    can_be_imported,
    folder_of,
    submodules,
)
from pyro_decomp.training.recorded.kept import ENTRY, EXPERIMENT
from pyro_decomp.training.recorded.texts import is_assigned
from pyro_decomp.training.recorded.values import VALUES, Values, naming

DEEPEST = 20  # partials within partials


@dataclasses.dataclass(frozen=True)
class SourceText:
    """A text that makes a function again.

    Args:
        text: Python, in which the function is called ``experiment``, or ``__experiment__`` where
            it uses another of that name.
        tensors: What it calls ``_tensors``: the values of tensors and arrays.
        folder: That of the function's file; of a cell, the current one.
        folders: Others from which it imports.
    """

    text: str
    tensors: Mapping[str, Tensor]
    folder: Path
    folders: tuple[Path, ...]


def source_text(function: Callable[..., Any]) -> SourceText:
    """Write down a function with what it reaches, so that another process can make it.

    Functions and classes of its own file, or of cells, are copied; those of other modules are
    imported; values are as they are now. Nothing else at the top of the file is run again.

    Raises:
        UnrecordedError: Something that it uses is no value, function, class or module.
    """
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(getattr(inner, "__func__", inner))
    namespace = getattr(inner, "__globals__", None)
    if namespace is None:  # of a class
        namespace = vars(sys.modules.get(str(getattr(inner, "__module__", "")), object))
    writer = _Writer(namespace)
    name = getattr(function, "__name__", EXPERIMENT)
    with naming(name, function):
        is_global = namespace.get(name) is function
        given = writer.expression(function, name if is_global else EXPERIMENT)
    if given != EXPERIMENT:
        own = ENTRY if EXPERIMENT in writer.globals else EXPERIMENT
        writer.lines.append(f"{own} = {given}")
    file = namespace.get("__file__")
    folder = Path(file).absolute().parent if file else Path.cwd()
    others = tuple(each for each in writer.folders if each != folder)
    return SourceText(writer.text(), writer.tensors.by_key, folder, others)


class _Writer(Values):
    """Writes lines, each after those that it needs."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        super().__init__()
        self.namespace = namespace
        self.importable = Importable(namespace)
        self.lines: list[str] = []  # values, and definitions, which have several
        self.imports: dict[str, None] = {}
        self.folders: dict[Path, None] = {}
        self.globals: dict[str, Any] = {}  # what the text has, by name
        self.has_future = False

    def text(self) -> str:
        """All that was written."""
        future = ["from __future__ import annotations\n\n"] if self.has_future else []
        parts = [*future, "".join(f"{line}\n" for line in sorted(self.imports))]
        for before, line in itertools.pairwise(["", *self.lines]):
            is_apart = "\n" in line or "\n" in before or not before
            parts.append(("\n\n" if is_apart else "") + line + "\n")
        return "".join(parts).lstrip("\n")

    def take(self, name: str, definition: Definition, *, is_needed: bool) -> None:
        """See to it that a global name means in the text what it means to a definition."""
        if name in self.namespace and (not name.startswith("__") or name == "__file__"):
            thing = self.namespace[name]
        elif name in vars(builtins):
            thing = vars(builtins)[name]
            if getattr(thing, "__module__", None) in (None, "builtins", "_sitebuiltins", "io"):
                return
        elif is_needed and not definition.has_future and not name.startswith("__"):
            raise UnrecordedError(f"`{name}`, which is not defined where it is used")
        else:
            return
        if isinstance(thing, types.ModuleType):
            for module in submodules(thing, name, definition.chains):
                self._import(f"import {module}", module)
        if name in self.globals:
            return
        self.globals[name] = thing
        with naming(name, thing):
            expression = self.expression(thing, name)
        if expression != name:
            self.lines.append(f"{name} = {expression}")
            if type(thing) not in VALUES:  # other places have the same object
                self._known.setdefault(id(thing), (name, thing))

    def module(self, thing: types.ModuleType, name: str) -> str:
        """Import a module."""
        module = thing.__name__
        if not can_be_imported(module):
            raise UnrecordedError("a module that cannot be imported elsewhere")
        if self.globals.get(name) is not thing:
            name = self._free(name or module.rpartition(".")[2])
        self.globals[name] = thing
        self._import(f"import {module}" + (f" as {name}" if name != module else ""), module)
        return self.is_expression(thing, name)

    def imported(self, thing: Any, name: str) -> str:
        """Import what some module has."""
        found = self.importable.home_of(thing, name)
        if found is None:
            raise UnrecordedError("")
        module, dotted = found
        first, _, rest = dotted.partition(".")
        alias = name if self.globals.get(name) is thing and not rest else self._free(first)
        as_ = f" as {alias}" if alias != first else ""
        self._import(f"from {module} import {first}{as_}", module)
        self.globals.setdefault(alias, thing)
        return self.is_expression(thing, f"{alias}.{rest}" if rest else alias)

    def _written(self, thing: Any, name: str) -> str:
        if name and self.namespace.get(name) is thing and not isinstance(thing, type):
            raw = self._undecorated(thing)
            if raw is not None and raw is not thing and raw.__name__ == name:
                return self.function(thing, name)
        return super()._written(thing, name)

    def _undecorated(self, thing: Any, depth: int = 0) -> types.FunctionType | None:
        """The function of the file that decorators made a thing of, Pyro's handlers too."""
        if hasattr(thing, "__wrapped__"):
            return self._undecorated(thing.__wrapped__, depth)
        if isinstance(thing, types.FunctionType):
            return thing if thing.__globals__ is self.namespace else None
        if not isinstance(thing, functools.partial) or depth > DEEPEST:
            return None
        inner = (self._undecorated(part, depth + 1) for part in (*thing.args[::-1], thing.func))
        return next((each for each in inner if each is not None), None)

    def function(self, thing: Any, name: str) -> str:
        """Copy a function of the file, or import one."""
        raw = self._undecorated(thing)
        if raw is None:
            return self.imported(thing, name)
        definition = definition_of(raw)
        is_global = self.namespace.get(definition.name) is thing
        is_as_defined = (
            is_global and definition.decorators and not is_assigned(name, self.namespace)
        )
        if raw is not thing and not is_as_defined:
            raise UnrecordedError(f"which wraps `{raw.__name__}`", "use decorators alone")
        definition = definition if is_global else definition.undecorated()
        self._check_defaults(raw, definition)
        return self._copied(thing, name, definition, _closure(raw))

    def klass(self, thing: type, name: str) -> str:
        """Copy a class of the file, or import one."""
        functions = own_functions(thing)
        is_of_file = self.namespace.get("__name__") == thing.__module__
        if not is_of_file or any(f.__globals__ is not self.namespace for f in functions):
            return self.imported(thing, name)
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
        own = definition.name
        if rebound := definition.rebound & closure.keys():
            raise UnrecordedError(f"which changes `{min(rebound)}` of the function around it")
        is_own = self.namespace.get(own or name) is thing
        target = (own or name) if is_own else self._free(own or name or "function")
        self.is_expression(thing, target)
        self.globals[target] = thing
        at_once, later = ([n for n in names if n not in closure] for names in definition.names)
        for each in at_once:
            self.take(each, definition, is_needed=True)
        space = definition.indent or "    "
        variables = []
        for variable, value in closure.items():
            with naming(variable, value):
                written = variable if value is thing else self.expression(value, variable)
            if written != variable:
                variables.append(f"{space}{variable} = {written}")
        if variables or (own and target != own):
            factory = self._free(f"make_{target}")
            self.globals[factory] = None
            made = [f"def {factory}():", *variables, *definition.returned(space)]
            self.lines += ["\n".join(made), f"{target} = {factory}()"]
        else:
            self.lines.append(definition.assigned(target))
        for each in later:
            self.take(each, definition, is_needed=False)
        return target

    def _check_defaults(self, function: types.FunctionType, definition: Definition) -> None:
        """Hold defaults that are names against what these mean now.

        Raises:
            UnrecordedError: They mean something else.
        """
        assert not isinstance(definition.node, ast.ClassDef)
        arguments = definition.node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        pairs: list[tuple[ast.arg, ast.expr | None]] = []
        pairs += zip(positional[::-1], arguments.defaults[::-1], strict=False)
        pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        parameters = inspect.signature(function, follow_wrapped=False).parameters
        for argument, default in pairs:
            value = parameters[argument.arg].default
            if isinstance(default, ast.Name):
                now = self.namespace.get(default.id, vars(builtins).get(default.id))
                if now is not value and (type(now) is not type(value) or now != value):
                    raise UnrecordedError(f"whose default `{default.id}` is another by now")

    def _import(self, line: str, module: str) -> None:
        self.imports[line] = None
        folder = folder_of(module)
        if folder is not None:
            self.folders[folder] = None

    def _free(self, name: str) -> str:
        """A name that neither the text nor the file has."""
        found, count = name, 1
        while found in self.globals or found in self.namespace:
            count += 1
            found = f"_{name}_{count}"
        return found


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
