"""Whether faster ways to compute a step train as well: the ELBO that they end at, over seeds.

    python benchmarks/quality.py [--seeds N] [--quick] [--write FILE]

Prints a table in Markdown. Runs of one seed have the same initial parameters, batches and noise.
The ELBO of a run is the mean of its last tenth of steps; the spread is the standard deviation over
seeds; the difference is of runs of one seed, with its interval of 95 %.
"""

import argparse
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from speed import machine

from pyro_decomp import VAE, BetaELBO, Experiment, train
from pyro_decomp.acceleration import Execution
from pyro_decomp.data import sprites as sprites_of
from pyro_decomp.networks import ConvDecoder32, ConvEncoder32
from pyro_decomp.priors import IsotropicNormal
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.experiment_file import ExperimentFile

PINWHEEL = Path(__file__).parents[1] / "examples" / "pinwheel_mixture.py"
HEADER = (
    "| run | steps of | ELBO | spread over seeds | is | ELBO | difference | share of the spread |\n"
    "|---|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Case:
    """One experiment, computed in a plain way and in a faster one.

    Attributes:
        what: What is trained.
        build: Makes the experiment of a seed.
        plain: How it is computed for comparison.
        fast: And how otherwise.
    """

    what: str
    build: Callable[[int], Experiment]
    plain: Execution
    fast: Execution


def pinwheel(seed: int, *, epochs: int) -> Experiment:
    """examples/pinwheel_mixture.py at the published settings, with alpha = 1."""
    source = ExperimentFile.read(PINWHEEL, seed=seed)
    set_seed(seed)
    return source.build({"alpha": 1.0, "epochs": epochs, "batch_size": 400, "anneal": False})


def sprites(seed: int, *, steps: int) -> Experiment:
    """Convolutions on sprites of 32 x 32, a beta-VAE."""
    grid = sprites_of(32)
    data = grid.images(grid.sample_factors(64 * 40, seed=0))
    set_seed(seed)
    vae = VAE(IsotropicNormal(6), ConvEncoder32(6), ConvDecoder32(6, scale=0.3), size=len(data))
    return Experiment(
        vae.model,
        vae.guide,
        data=data,
        elbo=BetaELBO(2.0),
        epochs=max(1, steps // 40),
        batch_size=64,
        optimizer=partial(torch.optim.Adam, lr=1e-3, fused=True),
    )


def cases(*, is_quick: bool) -> Iterator[Case]:
    """What is compared."""
    eager = Execution("eager", "float32")
    small = partial(pinwheel, epochs=20 if is_quick else 1000)
    yield Case("pinwheel, alpha = 1, 1000 steps", small, eager, Execution("fused", "float32"))
    if not is_quick:
        large = partial(sprites, steps=200)
        bfloat16 = Execution("eager", "bfloat16")
        yield Case("sprites of 32 x 32, 200 steps", large, eager, bfloat16)


def final_elbo(experiment: Experiment, seed: int, execution: Execution) -> float:
    """Train, and take the mean ELBO of the last tenth of steps, in nats per datum."""
    with TemporaryDirectory() as folder:
        run = train(experiment, Path(folder) / "run", seed=seed, execution=execution)
        elbo = run.history["elbo"]
        return float(np.mean(elbo[-max(1, len(elbo) // 10) :]))


def row(case: Case, seeds: int) -> str:
    """One row of the table."""
    plain, fast = (
        np.array([final_elbo(case.build(seed), seed, how) for seed in range(seeds)])
        for how in (case.plain, case.fast)
    )
    spread = plain.std(ddof=1)
    loc, half = interval(fast - plain)
    cells = [
        case.what, _name(case.plain), f"{plain.mean():.4g}", f"{spread:.2g}",
        _name(case.fast), f"{fast.mean():.4g}", f"{loc:+.2g} ± {half:.2g}", f"{loc / spread:+.3f}",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def interval(differences: NDArray[np.floating]) -> tuple[float, float]:
    """Mean and half the length of Student's interval of 95 %."""
    number = len(differences)
    half = student.ppf(0.975, number - 1) * differences.std(ddof=1) / math.sqrt(number)
    return float(differences.mean()), float(half)


def _name(execution: Execution) -> str:
    return f"{execution.steps}, {execution.precision}"


def main(arguments: list[str] | None = None) -> None:
    """Train, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="see that it runs")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page to be included")
    options = parser.parse_args(arguments)
    lines = [
        "<!-- by benchmarks/quality.py -->",
        "",
        f"{machine()} {options.seeds} seeds.",
        "",
        HEADER,
    ]
    print("\n".join(lines))
    for case in cases(is_quick=options.quick):
        lines.append(row(case, options.seeds))
        print(lines[-1], flush=True)
    if options.write:
        options.write.write_text("\n".join(["---", "orphan: true", "---", "", *lines, ""]))


if __name__ == "__main__":
    main()
