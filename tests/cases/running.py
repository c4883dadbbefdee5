"""The cases as the command line trains them, in this process."""

from pathlib import Path
from typing import Any

from pyro_decomp import Experiment, train
from pyro_decomp.acceleration import Execution
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run import Run

PROGRAMS, TABLES = Path(__file__).with_name("programs"), Path(__file__).with_name("tables")


def read(name: str, seed: int = 0) -> ExperimentFile:
    return ExperimentFile.read(PROGRAMS / f"{name}.py", seed=seed)


def build(name: str, seed: int = 0, **arguments: Any) -> Experiment:
    source = read(name, seed)
    set_seed(seed)
    return source.build(arguments)


def trained(
    name: str, out: Path, *, steps: str = "auto", seed: int = 0, options: Any = None, **given: Any
) -> Run:
    """Train a case.

    Args:
        name: Of its file.
        out: Its run folder.
        steps: How its steps are computed.
        seed: Of the run.
        options: More arguments of ``train``.
        **given: Arguments of ``experiment``.
    """
    return train(
        read(name, seed),
        out,
        seed=seed,
        arguments=given,
        execution=Execution(steps),
        **(options or {}),
    )
