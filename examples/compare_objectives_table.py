"""What each objective buys and costs: `compare_objectives.py` trained with several, and measured.

    python examples/compare_objectives_table.py --out runs/compare_objectives

Started again, it goes on where it was stopped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from intervals import mean_with_interval
from torch import Tensor

from pyro_decomp.analysis.encoding import encode
from pyro_decomp.analysis.evaluation import evaluate
from pyro_decomp.callbacks import Progress
from pyro_decomp.cli.failures import exit_status, told_in_one_line
from pyro_decomp.programs.traces import TracePair
from pyro_decomp.seeds import seeded
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run import Run
from pyro_decomp.training.training import train

EXPERIMENT = Path(__file__).with_name("compare_objectives.py")
Arguments = dict[str, str | float]
ROWS: dict[str, Arguments] = {
    "ELBO": {"objective": "beta", "weight": 1.0},
    "beta = 4": {"objective": "beta"},
    "capacity 8 nats": {"objective": "capacity"},
    "decomposition, alpha = 4": {"objective": "decomposition"},
    "total correlation, beta = 4": {"objective": "total_correlation"},
    "FactorVAE, gamma = 4": {"objective": "factor"},
    "DIP-VAE II, both 10": {"objective": "dip_ii"},
    "InfoVAE, lambda = 100": {"objective": "info"},
    "WAE-MMD, lambda = 100": {"objective": "wasserstein"},
}
COLUMNS = {
    "elbo": "ELBO",
    "log_likelihood": "E log p(x\\|z)",
    "kl": "KL",
    "divergence": "KL(p ‖ q)",
    "mutual_information": "MI",
    "total_correlation": "TC",
}
SAMPLES_PER_DATUM = 40
Row = dict[str, float]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Runs and table.")] = Path(
        "runs/compare_objectives"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each objective.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Of each run.")] = 250,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error is from.")
    ] = False,
) -> None:
    """Train the model with each objective and tabulate what is measured on its data."""
    rows: dict[str, list[Row]] = {title: [] for title in ROWS}
    with told_in_one_line(show_traceback=show_traceback, folder=out):
        try:
            for title, seed, run, factors in members(out, seeds, epochs):
                rows[title].append(measure(run, factors, seed))
                typer.echo(f"{run.path.relative_to(out)}: ELBO {rows[title][-1]['elbo']:.2f}")
        except Interrupted as interruption:
            typer.echo(f"{interruption}; the same command goes on from there", err=True)
            raise typer.Exit(exit_status(interruption)) from None
        (out / "table.md").write_text(table(rows))
        typer.echo(f"\n{table(rows)}")


def members(
    out: Path, seeds: int, epochs: int
) -> Iterator[tuple[str, int, Run, dict[str, Tensor]]]:
    """Train every run, or get it back where it has been trained before.

    Yields:
        Its row in the table, its seed, the run, and the factors of its data by name, ``[N]``.
    """
    for title, chosen in ROWS.items():
        for seed in range(seeds):
            source = ExperimentFile.read(EXPERIMENT, seed=seed)
            arguments = {**chosen, "epochs": epochs}
            folder = ",".join(f"{name}={value}" for name, value in chosen.items())
            run = train(
                source,
                out / folder / f"seed={seed}",
                seed=seed,
                resume=True,  # nothing is left to do for a run that is finished
                arguments=arguments,
                callbacks=[Progress("none")],
            )
            names = source.function.__globals__
            _, factors = names["squares"]()
            yield title, seed, run, dict(zip(names["FACTORS"], factors.T, strict=True))


@torch.no_grad()
def measure(run: Run, factors: dict[str, Tensor], seed: int) -> Row:
    """Nats per datum over the data set, and how well one latent tells each factor."""
    (pair,) = encode(run, run.data)
    metrics = evaluate(run, seed=seed, only=["elbo", "divergence"])["train"]
    with seeded(seed):
        measured = metrics | overlap(pair)
    loc = pair.guide.nodes["z"]["fn"].mean
    told = {f"R² {name}": best_r_squared(loc, factor) for name, factor in factors.items()}
    return {name: measured[name] for name in COLUMNS} | told


def overlap(pair: TracePair) -> Row:
    """Mutual information and total correlation of q(z) over the data, but for sampling exact."""
    qz_x = pair.guide.nodes["z"]["fn"]
    draws = [{"z": qz_x.sample()} for _ in range(SAMPLES_PER_DATUM)]
    log_q = [pair.aggregate_posterior.log_densities(z) for z in draws]
    joint = torch.stack([each.joint for each in log_q])
    marginals = torch.stack([each.dimensions["z"].sum(-1) for each in log_q])
    log_qz_x = torch.stack([qz_x.log_prob(z["z"]) for z in draws])
    return {
        "mutual_information": (log_qz_x - joint).mean().item(),
        "total_correlation": (joint - marginals).mean().item(),
    }


def best_r_squared(loc: Tensor, factor: Tensor) -> float:
    """The largest share of a factor's variance that a straight line in one latent explains."""
    correlations = torch.corrcoef(torch.cat([factor[None], loc.T]).double())[0, 1:]
    return correlations.nan_to_num().square().max().item()  # a constant latent explains nothing


def table(rows: dict[str, Sequence[Row]]) -> str:
    """Means over seeds with 95 % intervals, in Markdown."""
    measured = list(next(iter(rows.values()))[0])
    heading = ["objective", *(COLUMNS.get(name, name) for name in measured)]
    lines = [heading, ["---"] * len(heading)]
    for title, runs in rows.items():
        lines.append(
            [title, *(mean_with_interval([run[name] for run in runs]) for name in measured)]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    app()
