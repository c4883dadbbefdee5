"""Dependence points one way: the table of ARCHITECTURE.md, kept for every import there is."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import pyro_decomp

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "pyro_decomp").rglob("*.py"))
}
ROOT_MODULE = ""  # pyro_decomp/__init__.py, which offers names of other parts
HEAVY = {"matplotlib", "numpy", "pyro", "torch", "torchvision"}


def table() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """For each part of the package: what its row lets it import, and the parts of that row."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    rows = [
        (set(re.findall(r"`(\w+)/?`", parts)), set(re.findall(r"\w+", may)))
        for parts, may in re.findall(r"^\|([^|]*`[^|]*)\|[^|]*\|([^|]*)\|$", text, re.M)
    ]
    everything = set().union(*(parts for parts, _ in rows))
    rows += [({ROOT_MODULE}, everything - {"cli", "display"}), ({"__main__"}, {"cli"})]
    may_import, row_of = {}, {}
    for parts, may in rows:
        named = may - {"nothing"} if may != {"all"} else everything - parts | {ROOT_MODULE}
        unknown = named - everything - {ROOT_MODULE}
        assert not unknown, f"ARCHITECTURE.md: no row for {unknown}"
        may_import |= dict.fromkeys(parts, named)
        row_of |= dict.fromkeys(parts, parts)
    return may_import, row_of


def part_of(module: str) -> str:
    """``elbo`` of ``pyro_decomp.elbo.base``."""
    return module.split(".")[1] if "." in module else ROOT_MODULE


MAY_IMPORT, ROW_OF = table()


def reachable(part: str) -> set[str]:
    """All that ``part`` may import: its row, what that row names, and what those may in turn."""
    seen, queue = set(), {part}
    while queue:
        seen |= queue
        queue = set().union(*(MAY_IMPORT[one] | ROW_OF[one] for one in queue)) - seen
    return seen


def imports(tree: ast.AST, module: str, path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of all that is imported, inside functions too."""
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, (above, node.module)))
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                keep_name = whole in MODULES or source == "pyro_decomp"
                yield node.lineno, whole if keep_name else source


@pytest.fixture(params=MODULES, ids=lambda name: name.removeprefix("pyro_decomp."))
def module(request: pytest.FixtureRequest) -> str:
    return request.param


def test_imports_follow_the_table(module: str) -> None:
    path, part = MODULES[module], part_of(module)
    assert part in MAY_IMPORT, f"ARCHITECTURE.md has no row for {module}"
    may = reachable(part)
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for line, name in imports(ast.parse(path.read_text()), module, path)
        if name.split(".")[0] in {"benchmarks", "examples", "tests"}
        or (name.split(".")[0] == "pyro_decomp" and part_of(name) not in {"__version__", *may})
    ]
    wrong = list(dict.fromkeys(wrong))
    assert not wrong, f"{'; '.join(wrong)}. ARCHITECTURE.md lets it import {sorted(may)}"


def test_the_table_points_one_way() -> None:
    TopologicalSorter(MAY_IMPORT).prepare()  # a CycleError names the parts of a cycle
    for part in ("data", "plots"):
        alone = {part, "errors", "annotations", "arguments"}
        assert reachable(part) <= alone, f"ARCHITECTURE.md: {part} stands alone"
    users = {part for part in MAY_IMPORT if "cli" in reachable(part)}
    assert users <= {"cli", "display", "__main__"}, f"ARCHITECTURE.md: {users} may import cli"


def test_no_modules_import_each_other() -> None:
    graph = {
        module: {
            name
            for _, name in imports(ast.parse(path.read_text()), module, path)
            if name in MODULES and name != module
        }
        for module, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()  # a CycleError names the modules of a cycle


@pytest.mark.parametrize("name", ["pyro_decomp", "pyro_decomp.cli", "pyro_decomp.display"])
def test_the_command_line_starts_light(name: str) -> None:
    without = f"import sys; sys.modules.update(dict.fromkeys({sorted(HEAVY)})); import {name}"
    started = subprocess.run(
        [sys.executable, "-c", without], check=False, capture_output=True, text=True
    )
    assert started.returncode == 0, started.stderr  # the trace names the file and the import


def test_the_package_offers_what_it_lists() -> None:
    for name in pyro_decomp.__all__:
        assert getattr(pyro_decomp, name) is not None
        assert name in dir(pyro_decomp)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        pyro_decomp.Nothing  # noqa: B018


def test_a_module_has_a_docstring(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text())), f"{MODULES[module]}: none"


def test_the_change_log_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    entries = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    if "dev" in version:
        assert entries[0] == "Unreleased"
        assert version.split(".dev")[0] not in entries
    else:
        assert next(entry for entry in entries if entry != "Unreleased") == version
