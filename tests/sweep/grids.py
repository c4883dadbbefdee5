"""Sweeps that were never trained, written file by file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyro_decomp.sweep.folder import NAME, describe
from pyro_decomp.sweep.grid import make_grid
from pyro_decomp.sweep.journal import Record, journal
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run_files.checked_files import write_checked
from pyro_decomp.training.run_files.run_folder import RunFolder
from tests.training.edited import of_source

SOURCE = "def experiment(beta: float = 1, alpha: float = 0.0, name: str = 'a', n: int = 3): ..."


def write_sweep(
    out: Path,
    values: Mapping[str, Sequence[Any]],
    seeds: int,
    terms: Mapping[str, Mapping[str, float | None] | str],
    *,
    metrics: bool = False,
) -> None:
    """A sweep of which each member named has these terms, or this status."""
    source = ExperimentFile.from_source(SOURCE, Path("trial.py"))
    grid = make_grid(source, values, seeds)
    out.mkdir()
    write_checked(out / NAME, describe(source, grid, "cpu", []))
    with journal(out / "members.jsonl") as lines:
        for name, found in terms.items():
            if isinstance(found, str):
                lines.append(Record(name, found, "no way", 1, 0.5, "single"))
            elif metrics:
                lines.append(Record(name, "finished", "", 3, 0.5, "single", {}, found))
            else:
                lines.append(Record(name, "finished", "", 3, 0.5, "single", found))


def write_run(
    folder: Path,
    arguments: Mapping[str, Any],
    seed: int,
    history: str,
    *,
    file: str = "trial.py",
    source: str | None = SOURCE,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """A run folder of three steps."""
    config = {
        "arguments": dict(arguments), "seed": seed, "total_steps": 3,
        "source_file": f"/somewhere/{file}", "source": None, "source_sha256": None,
    } | ({} if source is None else of_source(source))  # fmt: skip
    run = RunFolder(folder)
    run.open_new(config)
    run.history_path.write_text(history)
    if metrics is not None:
        run.write_metrics(metrics)
