"""How the time of a step grows with the batch, the latents, the data and the members."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from hand_written import Pinwheel
from timing import Comparison
from torch import Tensor
from training_step import training_step

from comparisons import Effort
from comparisons.alternation import Training, alternate, training_of
from comparisons.cases import EXAMPLES, MOST_STEPS, PINWHEEL
from pyro_decomp import VAE, Experiment, TotalCorrelationELBO
from pyro_decomp.acceleration import Execution
from pyro_decomp.data import pinwheel
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.sweep.ensemble import Member, WorkItem, train_item
from pyro_decomp.training.experiment_file import ExperimentFile

FEATURES = 16
BASE = {"B": 256, "D": 10, "N": 10_240}
SETTINGS = [
    {},
    *({"B": size} for size in (64, 1024, 2048)),
    *({"D": size} for size in (2, 50)),
    {"N": 2**20},
]
MEMBERS = (1, 4, 16, 64)
STEPS = 50


def scaling(effort: Effort) -> Iterator[Comparison]:
    """The total correlation of perceptrons.

    All rows have one yardstick: a step of the first row's sizes by running the programs.
    """
    torch.manual_seed(0)
    steps, base = (1, BASE | {"B": 16, "N": 64}) if effort.is_quick else (STEPS, BASE)
    yardstick = training_step(experiment(**base))
    for setting in SETTINGS[:1] if effort.is_quick else SETTINGS:
        sizes = base | setting
        training = training_of(experiment(**sizes), Execution(effort.steps, "float32", threads=1))
        pair = alternate(training, yardstick, steps=steps, turns=effort.turns)
        what = ", ".join(f"{name} = {size:,}" for name, size in sizes.items())
        yield Comparison(what, "train()", "the programs at the first sizes", *pair)


def members(effort: Effort) -> Iterator[Comparison]:
    """A step of one of K members that are trained as one computation, against one by hand."""
    for count in (2,) if effort.is_quick else MEMBERS:
        training = training_of_members(count, "captured" if effort.is_quick else "fused")
        other = Pinwheel(pinwheel(), compiled=not effort.is_quick).step
        steps = 1 if effort.is_quick else max(1, 2 * STEPS // count)
        seconds, others = alternate(training, other, steps=steps, turns=effort.turns)
        each = [second / count for second in seconds]
        what = f"pinwheel, B = 400, alpha = 1, K = {count}"
        yield Comparison(what, "one of K members", "by hand, alone", each, others)


def experiment(B: int, D: int, N: int) -> Experiment:  # noqa: N803
    """A beta-TCVAE of perceptrons."""

    def prior() -> Tensor:
        return pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1))

    encoder, decoder = MLPEncoder(FEATURES, D, (256,)), MLPDecoder(D, FEATURES, (256,))
    vae = VAE(prior, encoder, decoder, size=N)
    return Experiment(
        vae.model,
        vae.guide,
        data=torch.randn(N, FEATURES),
        elbo=TotalCorrelationELBO(beta=4.0),
        epochs=max(1, MOST_STEPS // -(-N // B)),
        batch_size=B,
        optimizer=partial(torch.optim.Adam, lr=1e-3, fused=True),
    )


def training_of_members(count: int, how: str) -> Training:
    """The pinwheel with as many seeds, as one computation."""
    source = ExperimentFile.read(EXAMPLES / "pinwheel_mixture.py", seed=0)
    arguments = {"epochs": MOST_STEPS, **PINWHEEL}
    those = tuple(Member(f"seed={seed}", arguments, seed) for seed in range(count))
    item = WorkItem(those, is_batched=True, why="for their time", backend=how)

    def training(folder: Path, report: Callable[[int], None]) -> None:
        folder.mkdir()
        train_item(source, item, folder, device="cpu", report=lambda at, _: report(at // count))

    return training
