"""``pyro-decomp metrics``: codes of anyone's encoder, scored from files."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyro_decomp.cli.failures import told_in_one_line

if TYPE_CHECKING:
    from rich.table import Table

    from pyro_decomp.metrics import Score

# What needs torch, or more of rich than help does, is imported once the command has work to do.
# ruff: noqa: PLC0415

STANDARD_NORMAL = "normal"


def score_files(
    codes: Annotated[
        Path,
        typer.Argument(metavar="CODES", help="Codes, a row a datum: .npy, .npz or .csv."),
    ],
    factors: Annotated[
        Path | None,
        typer.Argument(metavar="FACTORS", help="Ground-truth factors, whole numbers."),
    ] = None,
    *,
    scale: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Scales of Gaussian encodings, of which CODES are the means."
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help=f"Draws of the prior, or `{STANDARD_NORMAL}`: standard Normal."
        ),
    ] = None,
    untrained: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Codes of an untrained encoder, to show beside."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...", help="Some metrics, such as mig,irs; else all the files allow."
        ),
    ] = None,
    num_resamples: Annotated[
        int | None,
        typer.Option(
            "--resamples", min=0, metavar="R", help="Of the intervals; 0 leaves them out."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="The same seed gives the same numbers.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error is from.")
    ] = False,
) -> None:
    """Score codes from files, with factors or without."""
    if num_resamples == 1:
        raise typer.BadParameter("--resamples: expected 0 or at least 2, got 1")
    with told_in_one_line(show_traceback=show_traceback):
        from pyro_decomp.metrics import report

        z = _read(codes)
        scores = report(
            z,
            None if factors is None else _read(factors),
            encodings=None if scale is None else (z, _read(scale)),
            prior=None if prior is None else _prior(prior),
            untrained=None if untrained is None else _read(untrained),
            only=None if only is None else _names(only),
            num_resamples=num_resamples,
            seed=seed,
        )
        if as_json:
            plain = {name: score.to_json() for name, score in scores.items()}
            typer.echo(json.dumps(plain, allow_nan=False))
            return
        from rich.console import Console

        Console().print(scores_table(scores))


def scores_table(scores: "Mapping[str, Score]") -> "Table":
    """A row a metric: value, 95 % interval and, where there are any, the untrained encoder's."""
    from rich.table import Table

    from pyro_decomp.display import number_text

    beside = [name for name, score in scores.items() if "untrained" in score.details]
    table = Table(box=None, pad_edge=False)
    table.add_column("", overflow="fold")
    for title in ("value", "95 % interval", *(["untrained"] if beside else [])):
        table.add_column(title, justify="right", no_wrap=True)
    for name, score in scores.items():
        low_high = "-" if score.interval is None else " to ".join(map(number_text, score.interval))
        cells = [name, number_text(score.value), low_high]
        table.add_row(*cells, *([number_text(score.details.get("untrained"))] if beside else []))
        if "p_value" in score.details:
            table.add_row(f"{name}, p-value", number_text(score.details["p_value"]), "-")
    return table


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _read(path: Path) -> Any:
    """The array in a file; a table of one column, or a single factor, stays a matrix."""
    from pyro_decomp.data.files import is_table, read_array, read_table

    array = read_table(path).values if is_table(path) else read_array(path, key=None)
    return array[:, None] if array.ndim == 1 else array


def _prior(text: str) -> Any:
    if text != STANDARD_NORMAL:
        return _read(Path(text))
    from torch.distributions import Normal

    return Normal(0.0, 1.0)
