"""``pyro-decomp metrics``: codes of anyone's encoder, scored from files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pyro_decomp.cli.failures import told_in_one_line
from pyro_decomp.cli.options import ShowTraceback, names
from pyro_decomp.training.run_files.json_files import to_json
from pyro_decomp.training.user_code import memory_counted

# What needs torch, or more of rich than help does, is imported once the command has work to do.
# ruff: noqa: PLC0415

LESS = "--only some metrics, or --resamples 0,"
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
    show_traceback: ShowTraceback = False,
) -> None:
    """Score codes from files, with factors or without."""
    if num_resamples == 1:
        raise typer.BadParameter("--resamples: expected 0 or at least 2, got 1")
    with told_in_one_line(show_traceback=show_traceback, is_printed=True), memory_counted(LESS):
        from pyro_decomp.metrics import report

        z = _read(codes)
        scores = report(
            z,
            None if factors is None else _read(factors),
            encodings=None if scale is None else (z, _read(scale)),
            prior=None if prior is None else _prior(prior),
            untrained=None if untrained is None else _read(untrained),
            only=None if only is None else names(only),
            num_resamples=num_resamples,
            seed=seed,
        )
        plain = {name: score.to_json() for name, score in scores.items()}
        if as_json:
            typer.echo(to_json(plain), nl=False)
            return
        from rich.console import Console

        from pyro_decomp.cli.tables import scores_table

        Console().print(scores_table("", plain))


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
