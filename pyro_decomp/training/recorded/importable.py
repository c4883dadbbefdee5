"""What another process can import: by which module and name, and from which folder."""

import ast
import sys
import sysconfig
from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from pyro_decomp.training.recorded.texts import texts_of

INSTALLED = tuple(
    Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_NOTHING = object()


class Importable:
    """Says how to import what a file uses: as the file does, or else by the shortest way."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace

    def home_of(self, thing: Any, name: str) -> tuple[str, str] | None:
        """The module and the dotted name there that a thing can be imported by."""
        home = self._by_file.get(name)
        if home is not None and self._is(thing, *home):
            return home
        module = getattr(thing, "__module__", None)
        for own in (getattr(thing, "__qualname__", None), getattr(thing, "__name__", None)):
            if not isinstance(module, str) or not isinstance(own, str):
                continue
            parts = module.split(".")
            for length in range(1, len(parts) + 1):
                if self._is(thing, prefix := ".".join(parts[:length]), own):
                    return prefix, own
        modules = [each for each in list(sys.modules) if _is_public(each)]
        found = [each for each in modules if vars(sys.modules[each]).get(name) is thing]
        found = [each for each in found if can_be_imported(each)]
        shortest = sorted(found, key=lambda each: (folder_of(each) is not None, len(each), each))
        return (shortest[0], name) if shortest else None

    def _is(self, thing: Any, module: str, dotted: str) -> bool:
        found: Any = sys.modules.get(module) if can_be_imported(module) else None
        for name in dotted.split("."):
            found = getattr(found, name, _NOTHING)
        return found is thing

    @cached_property
    def _by_file(self) -> dict[str, tuple[str, str]]:
        """What the file, or the cells, import from where: name to module and name there."""
        package = str(self._namespace.get("__package__") or "").split(".")
        found: dict[str, tuple[str, str]] = {}
        for text in texts_of(self._namespace):
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.ImportFrom):
                    above = package[: len(package) - node.level + 1] if node.level else []
                    module = ".".join([*above, *([node.module] if node.module else [])])
                    found |= {n.asname or n.name: (module, n.name) for n in node.names}
        return found


def can_be_imported(module: str) -> bool:
    """Whether a module that is loaded can be imported by its name elsewhere."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return module != "__main__" and spec is not None and spec.name == module


def _is_public(module: str) -> bool:
    return isinstance(sys.modules.get(module), ModuleType) and "._" not in f".{module}"


def folder_of(name: str) -> Path | None:
    """The folder that a module is imported from, if it is not installed with Python."""
    top = sys.modules[name.partition(".")[0]]
    paths = [*getattr(top, "__path__", ())] or [getattr(top, "__file__", None)]
    if paths[0] is None or top.__name__ == "pyro_decomp":
        return None
    folder = Path(paths[0]).absolute().parent
    return None if any(folder.is_relative_to(installed) for installed in INSTALLED) else folder


def submodules(module: ModuleType, name: str, chains: Collection[str]) -> list[str]:
    """Modules in a package that chains such as ``name.sub.thing`` go through."""
    found: dict[str, None] = {}
    for chain in sorted(chains):
        first, *parts = chain.split(".")
        for length in range(1, len(parts) + 1) if first == name else ():
            inner = ".".join([module.__name__, *parts[:length]])
            if can_be_imported(inner):
                found[inner] = None
    return list(found)
