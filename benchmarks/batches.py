"""The cost of gathering an epoch's batches, as a share of an epoch of training.

    python benchmarks/batches.py [--repeats 10]

Pictures, networks, objective and batch size are those of examples/sparse_fashion_mnist.py: 60,000
pictures of 32 x 32, 500 a batch; see its --help for where Fashion-MNIST is looked for. A step of
training is what the trainer does. Gathered epochs and steps take turns, so that other work on the
machine meets all of them alike; times are medians of one thread's processor seconds.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from timing import in_turns, medians
from training_step import training_step

from pyro_decomp.data.batches import AnyData, Data
from pyro_decomp.data.stored import StoredArray, memory_mapped
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.experiment_file import ExperimentFile

EXAMPLE = Path(__file__).parents[1] / "examples" / "sparse_fashion_mnist.py"
STEP = "a step"
WARM_UP = 2


def main() -> None:
    """Time a step and an epoch of each way to store pictures, and print the shares as a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10, help="steps, and epochs of each kind")
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    set_seed(0)
    experiment = ExperimentFile.read(EXAMPLE, seed=0).build({})
    data, size = experiment.data.x, experiment.batch_size or len(experiment.data)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "pictures.npy"
        np.save(path, data.numpy())
        stored: dict[str, AnyData] = {
            "float32 in memory": data,
            "bytes in memory": StoredArray((data * 255).byte().numpy(), divisor=255),
            "float32 on disk": memory_mapped(path),
            "with labels": (data, torch.arange(len(data))),
        }
        ways = {name: epoch_of(Data.of(each), size) for name, each in stored.items()}
        actions = {STEP: training_step(experiment)} | ways
        turns = in_turns(actions, repeats, warm_up=WARM_UP, clock=time.process_time)
    seconds = medians(turns)
    epoch = experiment.steps_per_epoch * seconds[STEP]
    print("| pictures | gathering, seconds an epoch | share of an epoch |\n|---|---|---|")
    for name in ways:
        print(f"| {name} | {seconds[name]:.2f} | {seconds[name] / epoch:.2%} |")
    print(f"\nAn epoch of {experiment.steps_per_epoch} steps: {epoch:.0f} seconds.")


def epoch_of(data: Data, size: int) -> Callable[[], None]:
    """Permute and gather every batch of an epoch, and do nothing with them."""

    def epoch() -> None:
        for _ in data.shuffled(size, seed=0):
            pass

    return epoch


if __name__ == "__main__":
    main()
