"""Figure 4 of Mathieu et al. (2019), shortened: `sparse_fashion_mnist.py` over alpha and gamma.

    python examples/sparse_fashion_mnist_table.py --out runs/sparse_fashion_mnist

Started again, it goes on where it was stopped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from intervals import mean_with_interval

from pyro_decomp.analysis.encoding import encode
from pyro_decomp.callbacks import Progress
from pyro_decomp.cli.failures import exit_status, told_in_one_line
from pyro_decomp.divergences import dimensionwise_mmd
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.metrics import hoyer_sparsity
from pyro_decomp.seeds import seeded
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run import Run
from pyro_decomp.training.training import train

EXPERIMENT = Path(__file__).with_name("sparse_fashion_mnist.py")
GRID = [(alpha, gamma) for gamma in (0.0, 0.8) for alpha in (0.0, 100.0, 1000.0)]
COLUMNS = {
    "sparsity": "sparsity (Hoyer)",
    "log_likelihood": "E log p(x\\|z)",
    "divergence": "MMD² of q(z), p(z)",
    "kl": "KL",
}
Row = dict[str, float]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Runs and table.")] = Path(
        "runs/sparse_fashion_mnist"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Runs for each alpha and gamma.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Of each run; 80 in the paper.")] = 4,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many images.")] = None,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error is from.")
    ] = False,
) -> None:
    """Train the sparse prior over alpha and gamma, and tabulate what is measured on test images."""
    rows: dict[tuple[float, float], list[Row]] = {weights: [] for weights in GRID}
    with told_in_one_line(show_traceback=show_traceback, folder=out):
        try:
            for weights, seed, run in members(out, seeds, epochs, limit):
                rows[weights].append(measure(run, seed))
                typer.echo(
                    f"{run.path.relative_to(out)}: sparsity {rows[weights][-1]['sparsity']:.3f}"
                )
        except Interrupted as interruption:
            typer.echo(f"{interruption}; the same command goes on from there", err=True)
            raise typer.Exit(exit_status(interruption)) from None
        (out / "table.md").write_text(table(rows))
        typer.echo(f"\n{table(rows)}")


def members(
    out: Path, seeds: int, epochs: int, limit: int | None
) -> Iterator[tuple[tuple[float, float], int, Run]]:
    """Train every run, or get it back where it has been trained before.

    Yields:
        Its alpha and gamma, its seed and the run.
    """
    for alpha, gamma in GRID:
        for seed in range(seeds):
            source = ExperimentFile.read(EXPERIMENT, seed=seed)
            arguments = {"alpha": alpha, "gamma": gamma, "epochs": epochs}
            if limit is not None:
                arguments["limit"] = limit
            run = train(
                source,
                out / f"alpha={alpha:g},gamma={gamma:g}" / f"seed={seed}",
                seed=seed,
                resume=True,  # nothing is left to do for a run that is finished
                arguments=arguments,
                callbacks=[Progress("none")],
            )
            yield (alpha, gamma), seed, run


@torch.no_grad()
def measure(run: Run, seed: int) -> Row:
    """Sparsity of the codes' means, the ELBO's terms and D(q(z), p(z)), on the test images."""
    x = run.experiment.test_data
    loc, z, terms = [], [], {"log_likelihood": 0.0, "kl": 0.0}
    with seeded(seed):
        for pair in encode(run, x):
            site = pair.guide.nodes["z"]
            loc.append(site["fn"].mean)
            z.append(site["value"])
            batch = TermsELBO.terms(run.experiment.elbo, pair)
            for name in terms:
                terms[name] += batch[name].item() * pair.batch_size / len(x)
        prior, _ = pair.prior.draw(len(x))
    return {
        "sparsity": hoyer_sparsity(torch.cat(loc), num_resamples=0).value,
        **terms,
        "divergence": dimensionwise_mmd(torch.cat(z), prior["z"]).item(),
    }


def table(rows: dict[tuple[float, float], Sequence[Row]]) -> str:
    """Means over seeds, with 95 % intervals where there are several, in Markdown."""
    lines = [["alpha", "gamma", *COLUMNS.values()], ["---"] * (2 + len(COLUMNS))]
    for weights, runs in rows.items():
        means = [mean_with_interval([run[name] for run in runs]) for name in COLUMNS]
        lines.append([f"{weight:g}" for weight in weights] + means)
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    app()
