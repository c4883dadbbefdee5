"""What a prior with the right structure buys: five examples over seeds, measured and drawn.

    python examples/structure_table.py --out runs/structures

trains each `structure_*.py` under its own prior and the isotropic one. Every seed has data, initial
networks and noise of its own, the same under all priors. Started again, it goes on where it was
stopped. Needs scikit-learn.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import structure_measures as measures
import structure_pictures as pictures
import typer
from intervals import mean_with_interval
from matplotlib.figure import Figure

from pyro_decomp import plots
from pyro_decomp.callbacks import Progress
from pyro_decomp.cli.failures import exit_status, told_in_one_line
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run import Run
from pyro_decomp.training.training import train

FOLDER = Path(__file__).parent
PLAIN = "isotropic"


@dataclass(frozen=True)
class Example:
    """One structure.

    Attributes:
        prior: The one that expresses it.
        others: What it is compared with.
        measure: A run, the names that its file defines, and the seed to a row of numbers.
        picture: The runs of one seed by prior, these names and the seed to a figure.
    """

    prior: str
    others: tuple[str, ...]
    measure: Callable[[Run, measures.Names, int], measures.Row]
    picture: Callable[[dict[str, Run], measures.Names, int], Figure]


EXAMPLES = {
    "clusters": Example("mixture", (PLAIN,), measures.clusters, pictures.clusters),
    "sparsity": Example("sparse", (PLAIN,), measures.sparsity, pictures.sparsity),
    "hierarchy": Example("nested", (PLAIN, "flat"), measures.hierarchy, pictures.hierarchy),
    "subspaces": Example("subspaces", (PLAIN,), measures.subspaces, pictures.subspaces),
    "axes": Example("student_t", (PLAIN, "anisotropic"), measures.axes, pictures.axes),
}
Rows = dict[str, dict[str, list[measures.Row]]]  # by example and prior, one a seed

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Runs, pictures and table.")] = Path(
        "runs/structures"
    ),
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help=f"Of {', '.join(EXAMPLES)}.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each prior.")] = 5,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Of each run; by default the example's own.")
    ] = None,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error is from.")
    ] = False,
) -> None:
    """Train every example under each prior, tabulate what is measured, draw the first seed."""
    if unknown := set(only or ()) - set(EXAMPLES):
        raise typer.BadParameter(f"expected {', '.join(EXAMPLES)}, got {', '.join(unknown)}")
    rows: Rows = {}
    with told_in_one_line(show_traceback=show_traceback, folder=out):
        try:
            for name in only or EXAMPLES:
                rows[name] = measured(name, out, seeds, epochs)
        except Interrupted as interruption:
            typer.echo(f"{interruption}; the same command goes on from there", err=True)
            raise typer.Exit(exit_status(interruption)) from None
        (out / "table.md").write_text(table(rows))
        typer.echo(f"\n{table(rows)}")


def measured(name: str, out: Path, seeds: int, epochs: int | None) -> dict[str, list[measures.Row]]:
    """All rows of an example by prior; its picture is drawn on the way."""
    example = EXAMPLES[name]
    found: dict[str, list[measures.Row]] = {prior: [] for prior in (example.prior, *example.others)}
    first: dict[str, Run] = {}
    names: measures.Names = {}
    for seed, prior, run, names in members(name, out, seeds, epochs):
        found[prior].append(example.measure(run, names, seed))
        if seed == 0:
            first[prior] = run
        headline, value = next(iter(found[prior][-1].items()))
        typer.echo(f"{run.path.relative_to(out)}: {headline} {value:.3f}")
    plots.save(example.picture(first, names, 0), out / f"{name}.png")
    return found


def members(
    name: str, out: Path, seeds: int, epochs: int | None
) -> Iterator[tuple[int, str, Run, measures.Names]]:
    """Train every run of an example, or get it back where it has been trained before.

    Yields:
        Its seed and prior, the run, and the names that the example's file defines.
    """
    for seed in range(seeds):
        for prior in (EXAMPLES[name].prior, *EXAMPLES[name].others):
            source = ExperimentFile.read(FOLDER / f"structure_{name}.py", seed=seed)
            arguments: dict[str, str | int] = {"prior": prior, "data_seed": seed}
            if epochs is not None:
                arguments["epochs"] = epochs
            run = train(
                source,
                out / name / f"prior={prior}" / f"seed={seed}",
                seed=seed,
                resume=True,  # nothing is left to do for a run that is finished
                arguments=arguments,
                callbacks=[Progress("none")],
            )
            yield seed, prior, run, source.function.__globals__


def table(rows: Rows) -> str:
    """Means over seeds and of the differences within a seed, with 95 % intervals, in Markdown."""
    lines = [["example", "measured", "prior", "with it", "instead", "without it", "difference"]]
    lines.append(["---"] * len(lines[0]))
    for name, found in rows.items():
        example = EXAMPLES[name]
        for other in example.others:
            for title in found[other][0]:
                with_it = [row[title] for row in found[example.prior]]
                without = [row[title] for row in found[other]]
                difference = [a - b for a, b in zip(with_it, without, strict=True)]
                numbers = _columns(with_it, without, difference)
                lines.append(
                    [name, title, example.prior, numbers[0], other, numbers[1], numbers[2]]
                )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _columns(*columns: Sequence[float]) -> list[str]:
    return [mean_with_interval(column) for column in columns]


if __name__ == "__main__":
    app()
