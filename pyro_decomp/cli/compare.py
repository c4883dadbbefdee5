"""``pyro-decomp compare``: runs side by side, means over seeds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyro_decomp.cli.failures import say, tell, told_in_one_line
from pyro_decomp.cli.options import Quiet, ShowTraceback, names
from pyro_decomp.descriptions import visible
from pyro_decomp.training.run_files.json_files import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from pyro_decomp.sweep import Combination, Comparison

LEGEND = "\N{PLUS-MINUS SIGN} is half of a 95 % confidence interval"

# What needs numpy, or more of rich than help does, is imported once the command has work to do.
# ruff: noqa: PLC0415


def compare_runs(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR", help="A sweep, which may be running; or runs and folders of runs."
        ),
    ],
    *,
    by: Annotated[
        str | None,
        typer.Option(metavar="KEY,...", help="Arguments to compare by; all that vary by default."),
    ] = None,
    values: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...", help="What to compare, such as elbo,mig; all there is by default."
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to draw; mig by default, else kl."),
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="What to draw it against; elbo by default.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where pictures go; DIR/plots of a sweep by default."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; draw only with --out.")
    ] = False,
    quiet: Quiet = False,
    show_traceback: ShowTraceback = False,
) -> None:
    """Compare runs by their arguments: means with 95 % intervals over seeds, and pictures."""
    with told_in_one_line(show_traceback=show_traceback, is_printed=True):
        from rich.console import Console

        from pyro_decomp.sweep import compare
        from pyro_decomp.sweep.folder import NAME

        console = Console(quiet=quiet)
        comparison = compare(
            paths,
            by=None if by is None else names(by),
            quantities=None if values is None else names(values),
        )
        if as_json:
            typer.echo(to_json(comparison.to_json()), nl=False)
        else:
            over = " and ".join(["seeds", *comparison.averaged])
            say(console, f"Means over {over}, with 95 % intervals")
            for table in comparison_tables(comparison, console.width):
                console.print("", table, sep="\n")
            say(console, f"{LEGEND} over {over}, by Student's t\n")
        folder = out
        if out is None and not as_json and len(paths) == 1 and (paths[0] / NAME).exists():
            folder = paths[0] / "plots"
        if folder is not None:
            _draw(console, comparison, folder, metric, against, as_json=as_json)


def comparison_tables(comparison: "Comparison", width: int) -> "list[Table]":
    """Tables with a row a combination: its arguments, its runs, the mean of each quantity.

    Quantities that do not fit side by side are set below one another, each time with the arguments.
    """
    from pyro_decomp.sweep.grid import value_text

    some = comparison.combinations
    left = {name: [value_text(one.arguments[name]) for one in some] for name in comparison.by}
    left["runs"] = [str(one.num_finished) for one in some]
    if any(one.num_failed for one in some):
        left["failed"] = [str(one.num_failed) for one in some]
    if any(one.num_unfinished for one in some):
        left["unfinished"] = [str(one.num_unfinished) for one in some]
    tables, columns = [], dict(left)
    for name in comparison.quantities:
        cells = [_mean_text(one, name) for one in some]
        heading = name.replace(".", "\n", 1)
        if len(columns) > len(left) and _width({**columns, heading: cells}) > width:
            tables.append(_table(columns))
            columns = dict(left)
        columns[heading] = cells
    return [*tables, _table(columns)]


def _mean_text(one: "Combination", name: str) -> str:
    mean = one.means[name]
    return str(mean) + (f" ({mean.size})" if 0 < mean.size < one.num_finished else "")


def _width(columns: "Mapping[str, Sequence[str]]") -> int:
    lines = [[*heading.split("\n"), *cells] for heading, cells in columns.items()]
    return sum(max(map(len, words)) + 2 for words in lines) - 2


def _table(columns: "Mapping[str, Sequence[str]]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in columns:
        table.add_column(
            Text(visible(heading, keep="\n")), justify="right", no_wrap=True, vertical="bottom"
        )
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*(Text(visible(cell)) for cell in cells))
    return table


def _draw(
    console: "Console",
    comparison: "Comparison",
    folder: Path,
    metric: str | None,
    against: str | None,
    *,
    as_json: bool,
) -> None:
    from pyro_decomp.sweep.drawing import draw

    drawn = draw(comparison, folder, metric=metric, against=against)
    if not as_json:
        for path in drawn.paths:
            say(console, str(path))
    for name, reason in drawn.left_out.items():
        tell("warning", "yellow", f"{name} is left out: {reason}")
