"""The cost of one training step with each objective, as a ratio to the plain ELBO's.

    python benchmarks/objective_steps.py [--repeats 60]

Networks, pictures and weights are those of examples/compare_objectives.py. A step is what the
trainer does: the objective, its gradients, the optimiser, and one step of each auxiliary network.
Objectives take turns, a step each, so that other work on the machine meets all of them alike; times
are medians of one thread's processor seconds.
"""

import argparse
import time
from pathlib import Path

import pyro
import torch
from timing import in_turns, medians
from training_step import training_step

from pyro_decomp.training.experiment_file import ExperimentFile

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
        steps = {name: training_step(source.build(row | shape)) for name, row in chosen.items()}
        turns = in_turns(steps, repeats, warm_up=WARM_UP, clock=time.process_time)
        columns[size] = medians(turns)
    print(f"| objective | {' | '.join(SIZES)} |\n|---|{'---|' * len(SIZES)}")
    for name in chosen:
        ratios = [f"{column[name] / column[PLAIN]:.2f}" for column in columns.values()]
        print(f"| {name} | {' | '.join(ratios)} |")
    plain = ", ".join(f"{size} {1e3 * column[PLAIN]:.1f} ms" for size, column in columns.items())
    print(f"\nThe plain ELBO's step: {plain}.")


if __name__ == "__main__":
    main()
