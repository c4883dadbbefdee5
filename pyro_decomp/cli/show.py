"""``pyro-decomp show``: what a run or sweep holds, without executing anything of it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyro_decomp.cli.failures import say, told_in_one_line
from pyro_decomp.cli.options import ShowTraceback
from pyro_decomp.descriptions import shortened, visible
from pyro_decomp.errors import RunError, one_line

if TYPE_CHECKING:
    from rich.table import Table

# What needs more than help does is imported once the command has work to do.
# ruff: noqa: PLC0415

LONGEST = 400  # characters of a fact
NOT_TOLD = ("total_steps", "data_sums")  # which stand elsewhere, or tell a person nothing


def show_folder(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="A run or a sweep, whoever made it.")],
    *,
    source: Annotated[
        bool, typer.Option("--source", help="Print the source that the other commands execute.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    show_traceback: ShowTraceback = False,
) -> None:
    """Show all that the folder of a run or sweep holds; execute nothing of it."""
    if source and as_json:
        raise typer.BadParameter("expected one of --source and --json, which has it too, got both")
    with told_in_one_line(show_traceback=show_traceback, folder=path, is_printed=True):
        from pyro_decomp.sweep import contents as of_sweep
        from pyro_decomp.sweep.folder import NAME
        from pyro_decomp.training.run_files import contents as of_run
        from pyro_decomp.training.run_files.json_files import marked, to_json

        is_sweep = (path / NAME).exists()
        found = of_sweep.contents(path) if is_sweep else of_run.contents(path)
        if as_json:
            typer.echo(to_json(marked(found), indent=2), nl=False)  # in ASCII, all else as escapes
        elif source:
            if not isinstance(found["source"], str):
                raise RunError(
                    f"{path}: expected a {found['kind']} that keeps its source, got none"
                )
            typer.echo(visible(found["source"], keep="\n\t"), nl=False)
        else:
            _print(found)


def _print(found: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    total = "" if found["total_steps"] is None else f"of {found['total_steps']} "
    far = f"{found['step']} {total}"
    far += "steps" if found["kind"] == "run" else "members finished"
    say(console, f"{found['path']}: a {found['kind']}, {found['state']}, {far}")
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, text in _facts(found):
        facts.add_row(Text(visible(name)), Text(shortened(visible(text), LONGEST)))
    console.print(facts)
    if found.get("metrics"):
        try:
            console.print("", _measured(found["metrics"]), sep="\n")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            say(console, f"its metrics.json cannot be used: {one_line(error)}")
    if (writer := found["writer"]) is not None:
        end = "which has ended" if writer["has_ended"] else f"heard of at {writer['last_heard_of']}"
        say(console, f"written by {writer['process']}, {end}")
    for why in found["damages"]:
        say(console, f"cannot be used: {why}")
    for why in found["strangers"]:
        say(console, f"others could have written what it executes: {why}")
    if found["next"]:
        say(console, "Next:")
        for command in found["next"]:
            say(console, f"  {command}")


def _facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What stands beside each name, as one line."""
    if found["source"] is not None:
        digest = f"SHA-256 {found['source_sha256']}"
        lines, where = str(found["source"]).count("\n"), Path(str(found["source_file"]))
        is_function = where.name.startswith("<")
        what = f"function {where.name[1:-1]} in {where.parent}" if is_function else str(where)
        yield "source", f"{what}, {lines} lines, {digest}"
    elif found["record"]:
        yield "source", "none is kept: commands need --experiment FILE"
    yield "written", f"by {found['owner']}, {' to '.join(found['written'])}"
    told = {name: value for name, value in found["record"].items() if name not in NOT_TOLD}
    told |= {name: found.get(name) for name in ("resources", "members", "failed")}
    told |= {"schedules not at their end": found.get("schedules_left")}
    told |= {
        "last row": found.get("last"),
        "files, in bytes": found["files"],
        "pictures": found["pictures"],
    }
    for name, value in told.items():
        if text := _text(value):
            yield name.replace("_", " "), text


def _measured(metrics: Mapping[str, Any]) -> "Table":
    """What ``metrics.json`` has, a row a number with its 95 % interval, a column a set of data."""
    from rich.table import Table
    from rich.text import Text

    from pyro_decomp.analysis.evaluated import Evaluation

    evaluation = Evaluation(metrics)
    headings, rows = evaluation.table()
    seeds = ", ".join(map(str, evaluation.of_seeds()))
    table = Table(
        title=Text(f"measured with seed {visible(seeds)}"),
        title_justify="left", box=None, pad_edge=False,
    )  # fmt: skip
    for at, heading in enumerate(headings):
        table.add_column(Text(visible(heading)), justify="right" if at else "left")
    for cells in rows:
        table.add_row(*(Text(visible(cell)) for cell in cells))
    return table


def _text(value: Any, *, within: bool = False) -> str:
    """A value of JSON's types in words; empty where it says nothing."""
    if isinstance(value, Mapping):
        parts = {name: _text(each, within=True) for name, each in value.items()}
        text = ", ".join(f"{name}={part}" for name, part in parts.items() if part)
        return f"({text})" if within and text else text
    if isinstance(value, list):
        text = ", ".join(_text(each, within=True) for each in value)
        return f"[{text}]" if within and text else text
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)
