"""The cost of one training step with each objective, as a ratio to the plain ELBO's.

    python benchmarks/objective_steps.py [--repeats 60]

Networks, pictures and weights are those of examples/compare_objectives.py. A step is what the
trainer does: the objective, its gradients, the optimiser, and one step of each auxiliary network.
Objectives take turns, a step each, so that other work on the machine meets all of them alike; times
are medians of one thread's processor seconds.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import pyro
import torch

from pyro_decomp.auxiliary import guide_codes
from pyro_decomp.experiment import Experiment
from pyro_decomp.experiment_file import ExperimentFile
from pyro_decomp.state import prepare

EXAMPLE = Path(__file__).parents[1] / "examples" / "compare_objectives.py"
SIZES = {"small": (64, 128, 6), "large": (256, 1200, 10)}  # batch, hidden units, latents
PLAIN = "ELBO"
WARM_UP = 3


def main() -> None:
    """Time every objective at both sizes and print the ratios as a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=60, help="steps of each objective")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    pyro.set_rng_seed(0)
    source = ExperimentFile.read(EXAMPLE, seed=0)
    names = source.function.__globals__["OBJECTIVES"]
    chosen = {PLAIN: {"objective": "beta", "weight": 1.0}} | {n: {"objective": n} for n in names}
    columns = {}
    for size, (batch_size, hidden, latent_dim) in SIZES.items():
        shape = {"batch_size": batch_size, "hidden": hidden, "latent_dim": latent_dim}
        steps = {name: step_of(source.build(row | shape)) for name, row in chosen.items()}
        columns[size] = times(steps, repeats)
    print(f"| objective | {' | '.join(SIZES)} |\n|---|{'---|' * len(SIZES)}")
    for name in chosen:
        ratios = [f"{column[name] / column[PLAIN]:.2f}" for column in columns.values()]
        print(f"| {name} | {' | '.join(ratios)} |")
    plain = ", ".join(f"{size} {1e3 * column[PLAIN]:.1f} ms" for size, column in columns.items())
    print(f"\nThe plain ELBO's step: {plain}.")


def step_of(experiment: Experiment) -> Callable[[], None]:
    """One step of training."""
    state = prepare(experiment)
    batch = experiment.data[: experiment.batch_size]
    optimizer = experiment.optimizer(state.parameters.values())
    auxiliaries = [
        (auxiliary, auxiliary.optimizer(auxiliary.module.parameters()))
        for auxiliary in experiment.auxiliaries.values()
    ]

    def step() -> None:
        estimate = experiment.elbo.evaluate(experiment.model, experiment.guide, batch)
        optimizer.zero_grad()
        (-estimate.objective).backward()
        optimizer.step()
        for auxiliary, own in auxiliaries:
            other = partial(guide_codes, experiment.guide, batch)
            loss = auxiliary.loss(estimate.pairs[0], other)
            own.zero_grad()
            loss.backward()
            own.step()

    return step


def times(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median processor seconds of a step, over repeats that take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(WARM_UP + repeats):
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    return {name: median(column[WARM_UP:]) for name, column in seconds.items()}


if __name__ == "__main__":
    main()
