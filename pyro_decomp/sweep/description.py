"""``sweep.json``: what a sweep is made of."""

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError
from pyro_decomp.sweep.grid import Grid
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.json_files import plain, read_json

NAME = "sweep.json"
KEYS = {"values", "defaults", "seeds", "source", "source_file", "source_sha256"}
PACKAGES = ("pyro-decomp", "torch", "pyro-ppl", "numpy")


def describe(
    source: ExperimentFile, grid: Grid, device: str, metrics: Sequence[str]
) -> dict[str, Any]:
    """What ``sweep.json`` records, in JSON's types."""
    return {
        "values": {name: plain(values) for name, values in grid.values.items()},
        "defaults": {p.name: None if p.required else plain(p.default) for p in source.parameters},
        "seeds": list(grid.seeds),
        "metrics": list(metrics),
        "device": device,
        "versions": {"python": platform.python_version()} | {p: version(p) for p in PACKAGES},
        "source_file": str(source.path.resolve()),
        "source_sha256": source.sha256,
        "source": source.source,
    }


def read_description(folder: Path) -> dict[str, Any]:
    """The contents of ``sweep.json``.

    Raises:
        RunError: There is no sweep, or its ``sweep.json`` cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        raise RunError(f"{folder}: expected the folder of a sweep with a {NAME}, found none")
    try:
        description = read_json(path)
    except (ValueError, OSError) as error:
        raise RunError(f"{path}: expected JSON, got {error}; restore it") from error
    if not isinstance(description, dict) or not description.keys() >= KEYS:
        raise RunError(f"{path}: expected the description of a sweep")
    return description


def described_grid(description: Mapping[str, Any]) -> Grid:
    """The grid of a ``sweep.json``, its values in JSON's types."""
    values = {name: tuple(values) for name, values in description["values"].items()}
    return Grid(values, tuple(description["seeds"]), tuple(description["defaults"]))


def check_extends(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that a sweep that is to go on has all that it was started with: more it may have.

    Raises:
        RunError: The file is another, a parameter was set in one and not in the other, or a value
            or seed is missing.
    """
    if before["source_sha256"] != now["source_sha256"]:
        raise _refusal(folder, "a different experiment file", "use the same")
    if before["values"].keys() != now["values"].keys():
        names = ", ".join(before["values"]) or "no parameters"
        raise _refusal(folder, f"values of {names}", "give values of the same")
    for name, values in before["values"].items():
        missing = [value for value in values if value not in now["values"][name]]
        if missing:
            raise _refusal(
                folder,
                f"{name}={_listed(values)}",
                f"give {_listed(missing)} too",
            )
    missing = [seed for seed in before["seeds"] if seed not in set(now["seeds"])]
    if missing:
        raise _refusal(folder, f"seeds {_listed(before['seeds'])}", f"give {_listed(missing)} too")


def _refusal(folder: Path, what: str, mend: str) -> RunError:
    return RunError(
        f"{folder} cannot be resumed: it was started with {what}; {mend}, or sweep into another "
        "folder with --out"
    )


def _listed(values: Sequence[Any]) -> str:
    words = [value if isinstance(value, str) else json.dumps(value) for value in values]
    return ",".join(words if len(words) <= 10 else [*words[:9], "..."])
