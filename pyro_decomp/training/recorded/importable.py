"""What another process can import: by which module and name, and from which folder."""

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

INSTALLED = tuple(
    Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


def home_of(thing: Any, name: str) -> tuple[str, str] | None:
    """The module and the dotted name there that a thing can be imported by, the shortest first.

    Args:
        thing: A function, class or whatever a module has.
        name: What it is called where it is used: what has no name of its own is looked for by it.
    """
    module = getattr(thing, "__module__", None)
    for own in (getattr(thing, "__qualname__", None), getattr(thing, "__name__", None)):
        if not isinstance(module, str) or not isinstance(own, str):
            continue
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            prefix = ".".join(parts[:length])
            if is_importable(prefix) and _attribute(sys.modules[prefix], own) is thing:
                return prefix, own
    found = [each for each, m in list(sys.modules.items()) if _has(m, name, thing)]
    found = [each for each in found if is_importable(each) and "._" not in f".{each}"]
    if not found:
        return None
    return min(found, key=lambda each: (folder_of(each) is not None, each.count("."), each)), name


def is_importable(name: str) -> bool:
    """Whether a module that is loaded can be imported by its name elsewhere."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    return name != "__main__" and spec is not None and spec.name == name


def folder_of(name: str) -> Path | None:
    """The folder that a module is imported from, if it is not installed with Python."""
    top = sys.modules[name.partition(".")[0]]
    paths = [*getattr(top, "__path__", ())] or [getattr(top, "__file__", None)]
    if paths[0] is None or top.__name__ == "pyro_decomp":
        return None
    folder = Path(paths[0]).absolute().parent
    return None if any(folder.is_relative_to(installed) for installed in INSTALLED) else folder


def submodules(module: ModuleType, name: str, chains: Iterator[str]) -> list[str]:
    """Modules in a package that chains such as ``name.sub.thing`` go through."""
    found: dict[str, None] = {}
    for chain in sorted(chains):
        first, *parts = chain.split(".")
        for length in range(1, len(parts) + 1) if first == name else ():
            inner = ".".join([module.__name__, *parts[:length]])
            if is_importable(inner):
                found[inner] = None
    return list(found)


_none = object()


def _has(module: Any, name: str, thing: Any) -> bool:
    return isinstance(module, ModuleType) and vars(module).get(name, _none) is thing


def _attribute(thing: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        thing = getattr(thing, name, _none)
    return thing
