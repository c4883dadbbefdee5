"""``config.json``: what a run is. Internal; imports neither numpy nor torch."""

import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from pyro_decomp.errors import RunError
from pyro_decomp.training.run_files.checked_files import RESTORE, digest, read_checked

NAME = "config.json"
REMEDY = "restore it, or choose another folder with --out"
PACKAGES = ("pyro-decomp", "torch", "pyro-ppl", "numpy")
LASTING = (
    "arguments",
    "seed",
    "source",
    "objective",
    "schedules",
    "num_data",
    "sites",
    "data_blake2b",
)


class RunConfig(TypedDict):
    """The keys that others rely on. Values are in JSON's types, so whole numbers are from 0."""

    arguments: dict[str, Any]
    seed: int
    total_steps: int
    source: str | None
    source_file: str | None
    source_sha256: str | None
    source_folders: NotRequired[list[str]]
    device: NotRequired[str]
    steps_per_epoch: NotRequired[int]
    num_data: NotRequired[int]
    schedules: NotRequired[dict[str, list[Any]]]
    objective: NotRequired[str]
    sites: NotRequired[dict[str, str]]
    versions: NotRequired[dict[str, str]]
    data_blake2b: NotRequired[str]
    data_sums: NotRequired[list[list[Any]]]
    stretches: NotRequired[list[int]]
    execution: NotRequired[dict[str, Any]]
    environments: NotRequired[list[dict[str, Any]]]
    other_arguments: NotRequired[dict[str, str]]
    unrecorded: NotRequired[str]


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that compute."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def read_run_config(folder: Path) -> dict[str, Any]:
    """Read the ``config.json`` of a run folder.

    Raises:
        RunError: There is no run, or its ``config.json`` is damaged, of something else or of a
            newer version.
    """
    what = "the configuration of a run"
    config = read_checked(folder / NAME, REMEDY, RunConfig, what, "a run folder")
    if config["source"] is not None and config["source_file"] is None:
        raise RunError(f"{folder / NAME}: source_file: expected text, got null ({REMEDY})")
    return config


def identity(config: Mapping[str, Any]) -> str:
    """A digest of what no run changes of its configuration, so that it tells runs apart."""
    return digest({name: config.get(name) for name in LASTING})


def check_own(path: Path, facts: Mapping[str, Any] | None, config: Mapping[str, Any]) -> None:
    """Check that a checkpoint is one of the run with a configuration.

    Args:
        path: The file.
        facts: That it has; None for one of an older version, which says nothing.
        config: The contents of ``config.json``.

    Raises:
        RunError: It is of another run.
    """
    if facts is not None and facts.get("run") != identity(config):
        raise RunError(f"{path}: expected a checkpoint of this run, got one of another ({RESTORE})")
