"""``pyro-decomp sweep``: a grid of runs."""

import gc
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyro_decomp.cli.failures import FAILED, exit_status, say, tell, told_in_one_line
from pyro_decomp.cli.options import (
    Device,
    ExperimentPath,
    Quiet,
    ShowTraceback,
    check_device,
    names,
)
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.user_code import memory_counted

if TYPE_CHECKING:
    from rich.console import Console

# What needs torch, or more of rich than help does, is imported once the command has work to do.
# ruff: noqa: PLC0415

LESS = "a smaller batch_size, or --workers 1,"
MOST_TOLD = 5  # members that failed, of which the sentences are printed


class Way(StrEnum):
    """How members are trained."""

    AUTO = "auto"
    BATCHED = "batched"
    PROCESSES = "processes"


def sweep_file(
    file: ExperimentPath,
    *,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=V1,V2,...", help="Values of a parameter; repeat for others."
        ),
    ] = None,
    seeds: Annotated[
        str,
        typer.Option(metavar="N", help="Of each combination: 8 for 0 to 7, or a list, 3,5,7."),
    ] = "1",
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The sweep's folder; sweeps/NAME by default for NAME.py."),
    ] = None,
    way: Annotated[
        Way,
        typer.Option(
            metavar="HOW",
            help="batched: as one computation, where they can be; processes: each run by itself; "
            "auto: whichever is faster.",
        ),
    ] = Way.AUTO,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="The most worker processes; by default one a processor."
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="What to measure on each member that finishes, as evaluate --only does on one "
            "run; nothing by default.",
        ),
    ] = None,
    device: Device = "cpu",
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the sweep in DIR, or add to its values."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the sweep in DIR.")] = False,
    quiet: Quiet = False,
    show_traceback: ShowTraceback = False,
) -> None:
    """Train a file for every combination of values with every seed, into one table."""
    if resume and force:
        raise typer.BadParameter("expected one of --resume and --force, got both")
    chosen = _seeds(seeds)
    folder = out or Path("sweeps") / file.stem
    with told_in_one_line(show_traceback=show_traceback, folder=folder), memory_counted(LESS):
        source = ExperimentFile.read(file, seed=0)

        from rich.console import Console

        from pyro_decomp.cli.progress import plan_lines
        from pyro_decomp.sweep import SweepInterrupted, sweep
        from pyro_decomp.sweep.grid import read_values
        from pyro_decomp.sweep.progress import SweepReporter

        console = Console(quiet=quiet)
        values = read_values(source, settings or [])
        check_device(device)
        gc.freeze()  # else Ctrl-C waits a second while all that is imported is gone through
        try:
            with SweepReporter(console) as report:
                table = sweep(
                    source,
                    values,
                    chosen,
                    out=folder,
                    way=way.value,
                    num_workers=workers,
                    device=device,
                    metrics=names(metrics),
                    resume=resume,
                    force=force,
                    started=lambda plan: say(console, "\n".join(plan_lines(plan))),
                    report=report,
                )
        except SweepInterrupted as interruption:
            words = ["pyro-decomp", "sweep", str(file)]
            words += [word for setting in settings or [] for word in ("--set", setting)]
            words += ["--seeds", seeds, "--out", str(folder), "--way", way.value]
            words += ["--device", device]
            words += [] if workers is None else ["--workers", str(workers)]
            words += [] if metrics is None else ["--metrics", metrics]
            typer.echo(f"{interruption}\ngo on with: {shlex.join([*words, '--resume'])}", err=True)
            raise typer.Exit(exit_status(interruption)) from None
        _report_end(console, table.select(["member", "status", "message"]).to_pylist(), folder)


def _seeds(text: str) -> range | list[int]:
    from pyro_decomp.sweep.cli_values import read_seeds

    try:
        seeds = read_seeds(text)
    except ValueError:
        raise typer.BadParameter(
            f"--seeds: expected how many or a list such as 3,5,7, got {text!r}"
        ) from None
    if not seeds:
        raise typer.BadParameter(f"--seeds: expected at least one, got {text!r}")
    return seeds


def _report_end(console: "Console", rows: list[dict[str, Any]], folder: Path) -> None:
    """Say where the table is, and which members went wrong.

    Raises:
        typer.Exit: Some did.
    """
    wrong = [row for row in rows if row["status"] != "finished"]
    unmeasured = [row for row in rows if row["status"] == "finished" and row["message"]]
    for row in [*wrong, *unmeasured][:MOST_TOLD]:
        tell("warning", "yellow", f"{row['member']}: {row['status']}: {row['message']}")
    say(console, f"The table is in {folder / 'table.csv'} and {folder / 'table.parquet'}. Next:")
    say(console, f"  pyro-decomp compare {shlex.quote(str(folder))}")
    counts = {"went wrong": len(wrong), "could not be measured as asked": len(unmeasured)}
    sentences = [
        f"{count} of {len(rows)} members {what}" for what, count in counts.items() if count
    ]
    if sentences:
        tell("error", "red", f"{', '.join(sentences)}; the table says how")
        raise typer.Exit(FAILED)
