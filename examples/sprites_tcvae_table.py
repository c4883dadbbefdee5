"""A beta-VAE against a beta-TCVAE: `sprites_tcvae.py` with both objectives over seeds, measured.

    python examples/sprites_tcvae_table.py --out runs/sprites_tcvae

Started again, it goes on where it was stopped.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from intervals import mean_with_interval

from pyro_decomp.analysis.encoding import evenly_spaced
from pyro_decomp.callbacks import Progress
from pyro_decomp.cli.failures import exit_status, told_in_one_line
from pyro_decomp.elbo import TermsELBO
from pyro_decomp.metrics import active_units, density_mig
from pyro_decomp.seeds import seeded
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run import Run
from pyro_decomp.training.training import train

EXPERIMENT = Path(__file__).with_name("sprites_tcvae.py")
Arguments = dict[str, Any]
ROWS: dict[str, Arguments] = {
    "beta-VAE, beta = 2": {"objective": "beta", "beta": 2.0},
    "beta-TCVAE, beta = 3": {"objective": "total_correlation", "beta": 3.0},
    "beta-TCVAE, beta = 3, weighted": {
        "objective": "total_correlation",
        "beta": 3.0,
        "estimator": "weighted",
    },
}
COLUMNS = {
    "mig": "MIG",
    "active_units": "active latents",
    "elbo": "ELBO",
    "log_likelihood": "E log p(x\\|z)",
    "mutual_information": "MI",
    "total_correlation": "TC",
    "dimensionwise_kl": "DWKL",
}
LEFT_OUT = "shape"  # a factor without an order, which the paper leaves out of dSprites' MIG
SAMPLES = 2000  # of q(z)
Row = dict[str, float]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Runs and table.")] = Path(
        "runs/sprites_tcvae"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each objective.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Of each run.")] = 42,
    positions: Annotated[
        int, typer.Option(min=1, max=32, help="Of the sprites along each axis.")
    ] = 32,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error is from.")
    ] = False,
) -> None:
    """Train both objectives over seeds and tabulate what is measured on their data."""
    rows: dict[str, list[Row]] = {title: [] for title in ROWS}
    with told_in_one_line(show_traceback=show_traceback, folder=out):
        try:
            for title, seed, run in members(out, seeds, epochs, positions):
                rows[title].append(measure(run, seed))
                row = rows[title][-1]
                typer.echo(
                    f"{run.path.relative_to(out)}: MIG {row['mig']:.3f}, ELBO {row['elbo']:.2f}"
                )
        except Interrupted as interruption:
            typer.echo(f"{interruption}; the same command goes on from there", err=True)
            raise typer.Exit(exit_status(interruption)) from None
        (out / "table.md").write_text(table(rows))
        typer.echo(f"\n{table(rows)}")


def members(out: Path, seeds: int, epochs: int, positions: int) -> Iterator[tuple[str, int, Run]]:
    """Train every run, or get it back where it has been trained before.

    Yields:
        Its row in the table, its seed and the run.
    """
    for seed in range(seeds):
        for title, chosen in ROWS.items():
            source = ExperimentFile.read(EXPERIMENT, seed=seed)
            arguments = {**chosen, "epochs": epochs, "positions": positions}
            folder = ",".join(f"{name}={value}" for name, value in chosen.items())
            run = train(
                source,
                out / folder / f"seed={seed}",
                seed=seed,
                resume=True,  # nothing is left to do for a run that is finished
                arguments=arguments,
                callbacks=[Progress("none")],
            )
            yield title, seed, run


@torch.no_grad()
def measure(run: Run, seed: int) -> Row:
    """MIG, the ELBO and the parts of its KL under the whole data set, but for sampling exact."""
    with seeded(seed):
        (pair,) = run.experiment.elbo.trace_pairs(run.model, run.guide, *run.data[:])
    terms = TermsELBO.terms(run.experiment.elbo, pair)
    site = pair.guide.nodes["z"]
    qz_x, chosen = site["fn"].base_dist, evenly_spaced(torch.arange(len(run.data)), SAMPLES)
    z = site["value"][chosen]
    log_qz_x = qz_x.log_prob(site["value"])[chosen].sum(-1)
    log_qz = pair.aggregate_posterior.log_densities({"z": z})
    independent = log_qz.dimensions["z"].sum(-1)
    log_pz = pair.prior.log_prob({"z": site["value"]})[chosen]
    ordered = [k for k, name in enumerate(run.experiment.factor_names) if name != LEFT_OUT]
    factors = run.experiment.factors[:, ordered]
    mig = density_mig(
        (qz_x.loc, qz_x.scale), factors, num_samples=SAMPLES, num_resamples=0, seed=seed
    )
    return {
        "mig": mig.value,
        "active_units": active_units(qz_x.loc, num_resamples=0).value,
        "elbo": (terms["log_likelihood"] - terms["kl"]).item(),
        "log_likelihood": terms["log_likelihood"].item(),
        "mutual_information": (log_qz_x - log_qz.joint).mean().item(),
        "total_correlation": (log_qz.joint - independent).mean().item(),
        "dimensionwise_kl": (independent - log_pz).mean().item(),
    }


def table(rows: dict[str, Sequence[Row]]) -> str:
    """Means over seeds with 95 % intervals, in Markdown."""
    lines = [["objective", *COLUMNS.values()], ["---"] * (1 + len(COLUMNS))]
    for title, runs in rows.items():
        lines.append(
            [title, *(mean_with_interval([run[name] for run in runs]) for name in COLUMNS)]
        )
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    app()
