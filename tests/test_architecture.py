"""Dependence points one way: the table of ARCHITECTURE.md, kept for every import there is."""

import ast
import functools
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
DOOR = "pyro_decomp.acceleration"
HEAVY = {"matplotlib", "numpy", "pyro", "torch", "torchvision"}


def table() -> dict[str, set[str]]:
    """For each room of the package, and each file beside them: what its row lets it import."""
    rows = re.findall(
        r"^\| `(\w+)/?` \|[^|]*\|([^|]*)\|$", (ROOT / "ARCHITECTURE.md").read_text(), re.M
    )
    return {room: set(re.findall(r"`(\w+)`", may)) for room, may in rows}


def part_of(module: str) -> str:
    """``elbo`` of ``pyro_decomp.elbo.base``."""
    return module.split(".")[1] if "." in module else ROOT_MODULE


MAY_IMPORT = table()
# The files that reach up: the methods of a run call functions of analysis and train it further,
# and training with several seeds is a sweep.
UPWARD = {
    "pyro_decomp.training.run_methods": {"analysis", "going_on", "run"},
    "pyro_decomp.training.training": {"sweep"},
}


def is_upward(module: str, name: str) -> bool:
    upward = UPWARD.get(module, set())
    return part_of(name) in upward or name in {f"pyro_decomp.training.{u}" for u in upward}


NOT_ROOMS = {ROOT_MODULE: set(MAY_IMPORT) - {"cli"}, "__main__": {"cli"}}


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(module: str) -> Iterator[tuple[int, str]]:
    """Line and absolute name of all that is imported, inside functions too."""
    path = MODULES[module]
    package = module if path.stem == "__init__" else module.rpartition(".")[0]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, (above, node.module)))
            for alias in node.names:
                whole = f"{source}.{alias.name}"
                keep_name = whole in MODULES or source == "pyro_decomp"
                yield node.lineno, whole if keep_name else source


def test_imports_are_those_of_the_table() -> None:
    seen = {part: set() for part in MAY_IMPORT}
    wrong = []
    for module, path in MODULES.items():
        part = part_of(module)
        for line, name in imports(module):
            top, other = name.split(".")[0], part_of(name)
            if top not in {"pyro_decomp", "benchmarks", "examples", "tests"} or (
                top == "pyro_decomp" and other in {part, ROOT_MODULE}
            ):
                continue
            if top == "pyro_decomp" and part in seen and not is_upward(module, name):
                seen[part].add(other)
            may = NOT_ROOMS.get(part) or MAY_IMPORT.get(part, set())
            if top != "pyro_decomp" or (other not in may and not is_upward(module, name)):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "not in ARCHITECTURE.md: " + "; ".join(wrong)
    idle = {part: may - seen[part] for part, may in MAY_IMPORT.items() if may - seen[part]}
    assert not idle, f"ARCHITECTURE.md: rows name imports that there are none of: {idle}"


def test_acceleration_has_one_door() -> None:
    """Training and sweep import it, and what offers its ``Execution`` to users; nobody a part."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for module, path in MODULES.items()
        for line, name in imports(module)
        if part_of(name) == "acceleration" != part_of(module)
        and (name != DOOR or part_of(module) not in {"training", "sweep", ROOT_MODULE})
    ]
    assert not wrong, f"expected imports from {DOOR} in training and sweep alone: {wrong}"


def test_every_room_has_a_row() -> None:
    assert {part_of(module) for module in MODULES} == {*MAY_IMPORT, *NOT_ROOMS}


def test_what_is_to_be_opened_is_there() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text().split("## To do X, open Y")[1]
    rooms = {path.name for path in (ROOT / "pyro_decomp").iterdir()}
    for row in re.findall(r"^\| (?!to |-)(.*) \|$", table, re.M):
        _, where, in_row = (cell.strip() for cell in f"{row} ".split("| "))
        room = ROOT / "pyro_decomp"
        for name in re.findall(r"`([\w/]+(?:\.\w+)?)`", where):
            path = Path(name)
            if path.parts[0] in rooms:
                room = ROOT / "pyro_decomp" / (path if not path.suffix else path.parent)
                assert (ROOT / "pyro_decomp" / path).exists(), row
            elif path.suffix == ".py":
                assert (room / path).exists(), row
        for name in re.findall(r"`([\w/]+\.\w+)`", in_row):
            assert (ROOT / name).exists(), row


def test_a_room_says_what_it_owns_and_what_never_belongs_there() -> None:
    rooms = [path for path in (ROOT / "pyro_decomp").iterdir() if (path / "__init__.py").exists()]
    assert len(rooms) == 18
    for room in rooms:
        sentence = ast.get_docstring(ast.parse((room / "__init__.py").read_text())).split("\n")[0]
        assert re.fullmatch(r"[A-Z].*; never .*\.", sentence), f"{room.name}: {sentence}"
    loose = {path.name for path in (ROOT / "pyro_decomp").glob("*.*")}
    assert len(loose - {"py.typed"}) <= 6


def test_the_table_points_one_way() -> None:
    order = list(MAY_IMPORT)
    for room, may in MAY_IMPORT.items():
        later = may - set(order[: order.index(room)])
        assert not later, f"ARCHITECTURE.md: {room} imports {later}, which stand below it"


def test_no_modules_import_each_other() -> None:
    graph = {
        module: {
            name
            for _, name in imports(module)
            if name in MODULES and name != module and not is_upward(module, name)
        }
        for module in MODULES
    }
    TopologicalSorter(graph).prepare()  # a CycleError names the modules of a cycle


@pytest.mark.parametrize("name", ["pyro_decomp", "pyro_decomp.cli", "pyro_decomp.cli.tables"])
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


def test_modules_have_docstrings() -> None:
    without = [m for m, p in MODULES.items() if not ast.get_docstring(tree_of(p))]
    assert not without


def test_the_change_log_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    entries = re.findall(r"^## \[([^]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.M)
    if "dev" in version:
        assert entries[0] == "Unreleased"
        assert version.split(".dev")[0] not in entries
    else:
        assert next(entry for entry in entries if entry != "Unreleased") == version
