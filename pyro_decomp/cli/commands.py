"""The commands: train, inspect, evaluate, plot, metrics, sweep, compare, show."""

import gc
import shlex
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import pyro_decomp
from pyro_decomp.cli.compare import compare_runs
from pyro_decomp.cli.failures import exit_status, say, tell, told_in_one_line
from pyro_decomp.cli.metrics import score_files
from pyro_decomp.cli.options import (
    Device,
    ExperimentPath,
    FileCommand,
    Quiet,
    ShowTraceback,
    check_device,
)
from pyro_decomp.cli.show import show_folder
from pyro_decomp.cli.sweep import sweep_file
from pyro_decomp.errors import one_line
from pyro_decomp.training.callbacks import Callback, Training
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.user_code import memory_counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from pyro_decomp.training.experiment import Experiment
    from pyro_decomp.training.run import Run
    from pyro_decomp.training.state import State


# What needs torch, or more of rich than help does, is imported once a command has work to do.
# ruff: noqa: PLC0415

app = typer.Typer(
    help="Learn structured latent spaces with variational autoencoders that are Pyro programs.",
    no_args_is_help=True,
    rich_markup_mode=None,  # typer's boxes take longer to import than all else in --help
    add_completion=False,
    pretty_exceptions_enable=False,
)

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the file; repeat for more."),
]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, as train makes it.")]
Seed = Annotated[
    int,
    typer.Option(
        min=0, max=2**32 - 1, help="Of every random draw; the same seed gives the same bits."
    ),
]
GivenExperiment = Annotated[
    Path | None,
    typer.Option(
        "--experiment",
        metavar="FILE",
        help="Whose `experiment` builds what a run was trained from that keeps no source.",
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Execute the source of a run that another user made, or could change."
    ),
]
Steps = Annotated[
    str,
    typer.Option(
        metavar="HOW",
        help="eager, captured, fused, compiled, or auto: what pays, by the run's length.",
    ),
]
Precision = Annotated[
    str, typer.Option(metavar="TYPE", help="Of networks' products: float32, bfloat16 or auto.")
]
MemoryFormat = Annotated[
    str, typer.Option(metavar="ORDER", help="Of images: contiguous, channels_last or auto.")
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="Where to write numbers too: tensorboard, mlflow or csv; repeatable."
    ),
]
Threads = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="By default one for small batches, else all.")
]


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(pyro_decomp.__version__)
        raise typer.Exit


@app.callback()
def program(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Hold the options of the program itself."""


@app.command(cls=FileCommand)
def train(
    file: ExperimentPath,
    *,
    settings: Settings = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The run folder; runs/NAME by default for NAME.py."),
    ] = None,
    seed: Seed = 0,
    device: Device = "cpu",
    steps: Steps = "auto",
    precision: Precision = "auto",
    memory_format: MemoryFormat = "auto",
    threads: Threads = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in DIR.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the run in DIR.")] = False,
    track: Track = None,
    quiet: Quiet = False,
    show_traceback: ShowTraceback = False,
) -> None:
    """Show what a file describes, train it, and draw it."""
    if resume and force:
        raise typer.BadParameter("expected one of --resume and --force, got both")
    folder = out or Path("runs") / file.stem
    with (
        told_in_one_line(show_traceback=show_traceback, folder=folder),
        memory_counted(),
        ExitStack() as ended,
    ):
        source = ExperimentFile.read(file, seed=seed)
        arguments = source.parse(settings or [])

        from rich.console import Console

        from pyro_decomp.training import training
        from pyro_decomp.training.interruption import Interrupted
        from pyro_decomp.training.progress import Progress
        from pyro_decomp.training.second_process import second_process
        from pyro_decomp.training.training import Execution

        console = Console(quiet=quiet)
        check_device(device)
        execution = Execution(steps, precision, memory_format, threads)
        gc.freeze()  # else Ctrl-C waits a second while all that is imported is gone through
        beside = ended.enter_context(second_process("pyro_decomp.plots"))
        try:
            run = training.train(
                source,
                folder,
                seed=seed,
                device=device,
                execution=execution,
                resume=resume,
                force=force,
                arguments=arguments,
                callbacks=[_Summary(console), Progress(console=console), *_trackers(track or [])],
            )
        except Interrupted as interruption:
            words = ["pyro-decomp", "train", str(file)]
            words += [word for setting in settings or [] for word in ("--set", setting)]
            folder = interruption.out
            words += [word for name in track or [] for word in ("--track", name)]
            words += ["--out", str(folder), "--seed", str(seed), "--device", device, "--resume"]
            typer.echo(
                f"interrupted at step {interruption.step}; the run so far is in {folder}\n"
                f"go on with: {shlex.join(words)}",
                err=True,
            )
            raise typer.Exit(exit_status(interruption)) from None
        try:
            pictures: list[Path] = []
            with _warned("the run is whole, but could not be drawn"):
                from pyro_decomp.analysis.pictures import draw

                pictures = draw(run, beside=beside)
            _report_end(console, run, pictures)
        except KeyboardInterrupt as stopped:
            again = shlex.join(["pyro-decomp", "plot", str(run.path)])
            typer.echo(
                f"interrupted; training had ended, and the run is whole: {again} draws it", err=True
            )
            raise typer.Exit(exit_status(stopped)) from None


@app.command(cls=FileCommand)
def inspect(
    file: ExperimentPath,
    *,
    settings: Settings = None,
    seed: Seed = 0,
    trust: Trust = False,
    show_traceback: ShowTraceback = False,
) -> None:
    """Show what a file describes, or a run: sites, priors, objective, parameters; train nothing."""
    if trust and not file.is_dir():
        raise typer.BadParameter(f"--trust: expected a run folder, whose source it is, got {file}")
    with told_in_one_line(show_traceback=show_traceback, is_printed=True):
        from rich.console import Console

        if file.is_dir() and not settings:
            run = _loaded(file, trust=trust)
            experiment, state = run.experiment, run.state
        else:
            from pyro_decomp.seeds import set_seed
            from pyro_decomp.training.state import prepare

            source = ExperimentFile.read(file, seed=seed)
            arguments = source.parse(settings or [])
            set_seed(seed)
            experiment = source.build(arguments)
            state = prepare(experiment)
        _show_summary(Console(), experiment, state)


@app.command()
def evaluate(
    run: RunFolder,
    *,
    seed: Seed = 0,
    importance_samples: Annotated[
        int, typer.Option(min=1, metavar="K", help="Draws per datum for log p(x).")
    ] = 1000,
    only: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", help="Some of it, such as elbo,divergence,mig; else all."),
    ] = None,
    trees: Annotated[
        bool, typer.Option("--trees", help="Score by boosted trees (dci_trees) too; minutes.")
    ] = False,
    experiment: GivenExperiment = None,
    trust: Trust = False,
    device: Device = "cpu",
    quiet: Quiet = False,
    show_traceback: ShowTraceback = False,
) -> None:
    """Measure a run on its data and its test data."""
    with told_in_one_line(show_traceback=show_traceback, folder=run):
        from rich.console import Console

        from pyro_decomp.analysis import evaluation

        console = Console(quiet=quiet)
        check_device(device)
        names = None if only is None else [name.strip() for name in only.split(",")]
        evaluation.check_names(names or ())
        loaded = _loaded(run, experiment, device, trust=trust)
        with console.status("measuring"), warnings.catch_warnings():
            # what is left out is printed with its reason below the numbers
            warnings.simplefilter("ignore", evaluation.LeftOutWarning)
            metrics = evaluation.evaluate(
                loaded,
                seed=seed,
                num_importance_samples=importance_samples,
                only=names,
                trees=trees,
            )
        _show_metrics(console, metrics)  # first, as the disk may be full
        path = evaluation.write_metrics(loaded, metrics)
        say(console, f"written to {path}")
        for other, kept in evaluation.Evaluation(loaded.folder.read_metrics()).of_seeds().items():
            if other != seed:
                say(console, f"which keeps what was measured with seed {other}: {', '.join(kept)}")


@app.command()
def plot(
    run: RunFolder,
    *,
    experiment: GivenExperiment = None,
    trust: Trust = False,
    quiet: Quiet = False,
    show_traceback: ShowTraceback = False,
) -> None:
    """Draw a run's pictures again."""
    with told_in_one_line(show_traceback=show_traceback, folder=run):
        from rich.console import Console

        from pyro_decomp.training.second_process import second_process

        with second_process("pyro_decomp.plots") as beside:
            from pyro_decomp.analysis.pictures import draw

            for path in draw(_loaded(run, experiment, trust=trust), beside=beside):
                say(Console(quiet=quiet), str(path))


app.command("metrics")(score_files)
app.command("sweep", cls=FileCommand)(sweep_file)
app.command("compare")(compare_runs)
app.command("show")(show_folder)


def _loaded(
    run: Path, experiment: Path | None = None, device: str = "cpu", *, trust: bool = False
) -> "Run":
    from pyro_decomp.training.run import load

    return load(run, device=device, experiment=experiment, trust=trust)


def _show_summary(console: "Console", experiment: "Experiment", state: "State") -> None:
    from pyro_decomp.analysis.summary import summarize
    from pyro_decomp.cli.tables import summary_view

    console.print(summary_view(summarize(experiment, state)))


class _Summary(Callback):
    """Shows what is about to be trained."""

    def __init__(self, console: "Console") -> None:
        self._console = console

    def started(self, training: Training) -> None:
        if training.folder.note:
            if self._console.quiet:  # what asks for the folder next would find the other run
                tell("warning", "yellow", training.folder.note)
            say(self._console, training.folder.note)
        if self._console.quiet:
            return
        with _warned("what is trained could not be shown"):
            _show_summary(self._console, training.experiment, training.state)
        say(self._console, f"{training.execution}\n")


def _trackers(names: list[str]) -> list[Callback]:
    """The callbacks that hand the numbers of a run to other programs, by their names.

    Raises:
        ExperimentError: There is none of a name.
    """
    if not names:
        return []
    from pyro_decomp.callbacks.trackers import TRACKERS
    from pyro_decomp.errors import ExperimentError

    for name in names:
        if name not in TRACKERS:
            raise ExperimentError(f"--track: expected one of {', '.join(TRACKERS)}, got {name!r}")
    return [TRACKERS[name]() for name in dict.fromkeys(names)]


@contextmanager
def _warned(what: str) -> Iterator[None]:
    """Show or draw something of a run; where that fails, warn only."""
    try:
        yield
    except Exception as error:
        tell("warning", "yellow", f"{what}: {one_line(error)}")


def _report_end(console: "Console", run: "Run", pictures: list[Path]) -> None:
    if not console.quiet:
        with _warned("the run is whole, but could not be summed up"):
            _show_final_terms(console, run)
    folder = shlex.quote(str(run.path))
    if took := run.resources:
        peak = took["peak_resident_bytes"]
        memory = "" if peak is None else f", {peak / 2**20:.0f} MiB of memory at most"
        say(console, f"{took['steps']} steps in {took['seconds']:.1f} s{memory}")
    codes = [path for path in pictures if path.name == "encodings.png"]
    where = f"; its codes are drawn in {codes[0]}" if codes else ""
    if pictures and not codes:
        where = f"; its pictures are in {run.folder.plots_path}"
    say(console, f"The run is in {run.path}{where}. Next:")
    say(console, f"  pyro-decomp evaluate {folder}\n  pyro-decomp plot {folder}")


def _show_final_terms(console: "Console", run: "Run") -> None:
    """Show the terms of the last step over the data."""
    from pyro_decomp.analysis.findings import final_terms, findings
    from pyro_decomp.cli.tables import left_out_lines, metrics_table

    found = final_terms(run)
    headings = {"train": "data", "test": "held-out data"}
    counts = []
    for name, terms in found.items():
        rows, some = terms.pop("rows"), terms.pop("data")
        among = f"{some} of {rows}" if terms.pop("sampled") else f"all {some}"
        counts.append(f"{among} {headings[name]}")
    columns = {headings[name]: terms for name, terms in found.items()}
    console.print(metrics_table(columns, f"After step {run.step}, over {' and '.join(counts)}"))
    for line in (*findings(run, found).values(), *left_out_lines(columns)):
        say(console, line)


def _show_metrics(console: "Console", metrics: "Mapping[str, Mapping[str, Any]]") -> None:
    from pyro_decomp.analysis.components import described
    from pyro_decomp.cli.tables import left_out_lines, metrics_table, scores_table

    console.print(metrics_table(metrics))
    for name, found in metrics.items():
        if "components" in found:
            say(console, f"{name} data: {described(found['components'])}")
        if found["scores"]:
            console.print("", scores_table(f"codes of the {name} data", found["scores"]), sep="\n")
    for line in (*metrics["train"].get("findings", {}).values(), *left_out_lines(metrics)):
        say(console, line)
