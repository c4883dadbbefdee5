"""Figure 3 of Mathieu et al. (2019): what beta and alpha do to q(z), drawn and measured.

    python examples/pinwheel_figure3.py --out runs/figure3

trains `pinwheel_mixture.py` over a grid of weights and over seeds. Started again, it goes on where
it was stopped.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from intervals import mean_with_interval
from torch import Tensor
from torch.distributions import Distribution

from pyro_decomp import evaluate, plots, train
from pyro_decomp.analysis.encoding import encode
from pyro_decomp.callbacks import Progress
from pyro_decomp.cli.failures import exit_status, told_in_one_line
from pyro_decomp.seeds import seeded
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run import Run

EXPERIMENT = Path(__file__).with_name("pinwheel_mixture.py")
Weights = tuple[float, float]  # beta, alpha
GRID: list[list[Weights]] = [
    [(beta, 0.0) for beta in (0.01, 0.5, 1.0, 1.2)],
    [(0.0, alpha) for alpha in (1.0, 3.0, 5.0, 8.0)],
]
LIMIT = 2.0  # the picture covers [-2, 2] squared
PIXELS = 160  # along each side
SAMPLES_PER_DATUM = 100
ASKED = ["divergence", "mutual_information", "effective_sharing", "elbo"]
MEASURED = [*ASKED, "log_likelihood", "kl"]
TABLE = {
    "D(q(z), p(z))": "divergence",
    "I(x; z)": "mutual_information",
    "data sharing a code": "effective_sharing",
    "ELBO": "elbo",
    "smallest mode share": "smallest_mode_share",
    "mean scale": "mean_scale",
}
Row = dict[str, float]

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Runs, picture and table.")] = Path(
        "runs/figure3"
    ),
    seeds: Annotated[int, typer.Option(min=1, help="Runs for each pair of weights.")] = 5,
    epochs: Annotated[int, typer.Option(min=1, help="Of each run.")] = 500,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where an error is from.")
    ] = False,
) -> None:
    """Train the pinwheel over beta and alpha, draw every q(z) and tabulate what is measured."""
    with told_in_one_line(show_traceback=show_traceback, folder=out):
        rows, panels = [], {}
        try:
            for weights, seed, run, locs in members(out, seeds, epochs):
                rows.append(measure(run, weights, seed, locs))
                if seed == 0:
                    panels[weights] = panel(run, weights)
                typer.echo(
                    f"[{len(rows)}/{seeds * sum(map(len, GRID))}] {run.path.relative_to(out)}: "
                    f"D {rows[-1]['divergence']:.4g} nats, "
                    f"data sharing a code {rows[-1]['effective_sharing']:.4g}"
                )
        except Interrupted as interruption:
            typer.echo(f"{interruption}; the same command goes on from there", err=True)
            raise typer.Exit(exit_status(interruption)) from None
        figure = plots.density_grid([[panels[weights] for weights in row] for row in GRID])
        plots.save(figure, out / "figure3.png")
        (out / "figure3.csv").write_bytes(as_csv(rows))
        typer.echo(f"\n{table(rows)}\n")
        typer.echo(f"drawn in {out / 'figure3.png'}, every run in {out / 'figure3.csv'}")


def members(out: Path, seeds: int, epochs: int) -> Iterator[tuple[Weights, int, Run, Tensor]]:
    """Train every member of the grid, or get it back where it has been trained before.

    Yields:
        Its weights, its seed, the run, and the means of the prior's clusters ``[4, 2]``.
    """
    for beta, alpha in (weights for row in GRID for weights in row):
        for seed in range(seeds):
            source = ExperimentFile.read(EXPERIMENT, seed=seed)
            arguments = {"beta": beta, "alpha": alpha, "epochs": epochs, "batch_size": 400}
            run = train(
                source,
                out / f"beta={beta:g},alpha={alpha:g}" / f"seed={seed}",
                seed=seed,
                resume=True,  # nothing is left to do for a run that is finished
                arguments=arguments | {"anneal": False},
                callbacks=[Progress("none")],
            )
            yield (beta, alpha), seed, run, source.function.__globals__["LOCS"]


@torch.no_grad()
def measure(run: Run, weights: Weights, seed: int, locs: Tensor) -> Row:
    """Match, overlap and terms on the training data, and where the mass of q(z) is."""
    metrics = evaluate(run, only=ASKED)["train"]
    (pair,) = encode(run, run.data)
    qz_x = pair.guide.nodes["z"]["fn"]
    with seeded(seed):
        shares = mode_shares(qz_x, locs)
    return {
        "beta": weights[0],
        "alpha": weights[1],
        "seed": seed,
        **{name: metrics[name] for name in MEASURED},
        "mean_scale": qz_x.stddev.mean().item(),
        "smallest_mode_share": min(shares),
        **{f"mode_share_{mode}": share for mode, share in enumerate(shares)},
    }


def mode_shares(qz_x: Distribution, locs: Tensor) -> list[float]:
    """The share of the mass of q(z) that is nearest to each of some points, from samples."""
    z = qz_x.sample((SAMPLES_PER_DATUM,)).flatten(0, 1)
    nearest = torch.cdist(z, locs).argmin(-1)
    shares: list[float] = (nearest.bincount(minlength=len(locs)) / len(nearest)).tolist()
    return shares


@torch.no_grad()
def panel(run: Run, weights: Weights) -> plots.DensityPanel:
    """The mass of q(z) in each pixel, exact over the data, over its area; the prior's contours.

    Encodings may be narrower than a pixel, and densities at the centres would miss them.
    """
    (pair,) = encode(run, run.data)
    edges = torch.linspace(-LIMIT, LIMIT, PIXELS + 1)
    axis = (edges[1:] + edges[:-1]) / 2
    mass = pair.guide.nodes["z"]["fn"].base_dist.cdf(edges[:, None, None]).diff(dim=0)
    qz = torch.einsum("xn,yn->yx", mass[..., 0], mass[..., 1]) / len(run.data)
    second, first = torch.meshgrid(axis, axis, indexing="ij")
    log_pz = pair.prior.log_prob({"z": torch.stack([first, second], -1).view(-1, 2)})
    title = rf"$\beta$ = {weights[0]:g}, $\alpha$ = {weights[1]:g}"
    log_qz = (qz / (2 * LIMIT / PIXELS) ** 2).log()
    return plots.DensityPanel(title, axis, axis, log_qz, log_pz.view(PIXELS, PIXELS))


def as_csv(rows: Sequence[Row]) -> bytes:
    """Rows as a table with a heading."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def table(rows: Sequence[Row]) -> str:
    """Means over seeds with 95 % intervals, in Markdown."""
    lines = [["beta", "alpha", *TABLE], ["---"] * (2 + len(TABLE))]
    for weights in (weights for row in GRID for weights in row):
        same = [row for row in rows if (row["beta"], row["alpha"]) == weights]
        means = [mean_with_interval([row[name] for row in same]) for name in TABLE.values()]
        lines.append([f"{weight:g}" for weight in weights] + means)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    app()
