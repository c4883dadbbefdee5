"""A trained run, and getting one back from its folder."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from pyro_decomp import arguments
from pyro_decomp.data.batches import Data
from pyro_decomp.descriptions import shortened, value_text
from pyro_decomp.errors import RunError
from pyro_decomp.seeds import random_state, set_random_state
from pyro_decomp.training.description import check_data, check_recorded, check_sites, objective_text
from pyro_decomp.training.experiment import Experiment, Program
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.record import Buildable, is_kept, rebuild
from pyro_decomp.training.run_files.history import History
from pyro_decomp.training.run_files.json_files import is_plain, plain
from pyro_decomp.training.run_files.run_config import versions
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.run_methods import RunMethods
from pyro_decomp.training.state import State, prepare
from pyro_decomp.training.stretches import ends_of, lengthen
from pyro_decomp.training.user_code import memory_counted


@dataclass(repr=False)
class Run(RunMethods):
    """A trained experiment with its record, and as methods what can be asked of it.

    Attributes:
        folder: Its files.
        experiment: Model, guide, data and objective, the networks in evaluation mode.
        state: The networks and parameters that were trained.
        history: One array a column of ``history.csv``.
        step: Steps trained.
        seed: Of its batches and noise.
        interrupted: Whether the user stopped it before its last step.
    """

    folder: RunFolder
    experiment: Experiment
    state: State
    history: dict[str, np.ndarray]
    step: int
    seed: int = 0
    interrupted: bool = False

    def __repr__(self) -> str:
        steps = f"{self.step} of {self.experiment.total_steps} steps"
        objective = value_text(self.experiment.elbo)
        return shortened(f"Run({str(self.path)!r}, {steps}, {self._last_elbo()}{objective})")

    def _last_elbo(self) -> str:
        """The ELBO in the mean over the rows of the last epoch, as text; empty where none is."""
        column, epochs = self.history.get("elbo"), self.history.get("epoch")
        if column is None or epochs is None or not len(column):
            return ""
        return f"elbo {column[epochs == epochs[-1]].mean():.4g}, "

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def config(self) -> dict[str, Any]:
        """The contents of ``config.json``, but for its format and digest."""
        return self.folder.read_config()

    @property
    def resources(self) -> dict[str, Any]:
        """The contents of ``resources.json``, likewise; empty where training has not ended."""
        return self.folder.read_resources()

    @cached_property
    def model(self) -> Program:
        """The generative model, a Pyro program of a batch of data.

        What it keeps in Python, such as a counter, is as training left it at every call.
        """
        return self.state.program.unmoved(self.experiment.model)

    @cached_property
    def guide(self) -> Program:
        """The guide, a Pyro program of a batch of data; see :attr:`model`."""
        return self.state.program.unmoved(self.experiment.guide)

    @property
    def data(self) -> Data:
        """The training data, whose slices are batches: ``run.guide(*run.data[:10])``."""
        data: Data = self.experiment.data
        return data


@memory_counted()
def load(
    path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    experiment: Buildable | str | Path | None = None,
    checkpoint: Literal["last", "best"] = "last",
    trust: bool = False,
) -> Run:
    """Get a run back: model, guide, data and history as they were at a checkpoint.

    The text of the experiment file or function, kept in the run, is executed; nothing is trained
    or unpickled, and the random generators are left as they were. Data, objective, schedules and
    sizes are held against what the run records.

    Args:
        path: The run folder.
        device: Where to put it.
        experiment: The experiment, or the file, its path or the function that builds it, for a run
            that was trained from an ``Experiment``, or from a function that uses what no run can
            keep.
        checkpoint: "last", or the "best", which :class:`~pyro_decomp.callbacks.BestCheckpoint`
            keeps.
        trust: Execute the text of a run that another user made, or could have changed. What it is
            shows ``pyro-decomp show RUN --source``.

    Returns:
        The run.

    Raises:
        RunError: There is no run, no checkpoint yet, or they cannot be read; or its text is not the
            one whose digest it records, or another user's and ``trust`` is False; or the experiment
            is not the one that was trained, in what is named.
        ExperimentError: The run's experiment no longer runs.
    """
    arguments.annotated(load, locals())
    arguments.device(device=device)
    if isinstance(experiment, str | Path):
        experiment = ExperimentFile.read(experiment)
    folder = RunFolder(path)
    folder.is_trusted = trust
    config = folder.read_config()
    saved = folder.read_checkpoint(checkpoint)
    if saved is None:
        how = "" if checkpoint == "last" else " of its best (train with BestCheckpoint())"
        raise RunError(f"{folder.path}: the run has no checkpoint{how} yet")
    generators = random_state()
    try:
        given = experiment is not None
        experiment = rebuild(folder, config, experiment)
        lengthen(experiment, ends_of(config))
        check_recorded(folder.path, config, experiment)
        state = prepare(
            experiment, device, check=lambda *of: check_sites(folder.path, config, of[-1])
        )
        check_data(folder.path, config, experiment, is_given=given)
    finally:
        set_random_state(generators)
    with folder.put_back(checkpoint):
        state.load_tensors(saved)
        state.load_python(saved.get("python"))
    step = saved["step"]
    history = folder.read_history(step, saved["rows"], checkpoint)
    return finish(folder, experiment, state, history, step, seed=int(config["seed"]))


def finish(
    folder: RunFolder,
    experiment: Experiment,
    state: State,
    history: History,
    step: int,
    *,
    seed: int = 0,
) -> Run:
    """Make a run of its parts: networks in evaluation mode, scheduled numbers of its step."""
    state.train(False)
    experiment.apply_schedules(step)
    columns = {name: np.asarray(column) for name, column in history.items()}
    return Run(folder, experiment, state, columns, step, seed)


def describe(
    experiment: Experiment,
    seed: int,
    device: torch.device | str,
    source: ExperimentFile | str | None,
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """The description that ``config.json`` records of a run, but for its execution and digest.

    The source is a file, or a function as one, or why the function cannot be kept.
    """
    lost = {name: value_text(value) for name, value in arguments.items() if not is_plain(value)}
    nothing = dict.fromkeys(("source_file", "source_sha256", "source"))
    found = {
        "arguments": {n: plain(value) for n, value in arguments.items() if n not in lost},
        "seed": seed,
        "device": str(device),
        "total_steps": experiment.total_steps,
        "steps_per_epoch": experiment.steps_per_epoch,
        "schedules": {name: list(ends) for name, ends in experiment.scheduled_ranges().items()},
        "num_data": len(experiment.data),
        "objective": objective_text(experiment),
        "versions": versions(),
        **(source.record() if isinstance(source, ExperimentFile) else nothing),
    }
    why = source if isinstance(source, str) else ""
    if lost and isinstance(source, ExperimentFile) and not source.is_function:
        why = f"{', '.join(lost)}: expected numbers, text, or lists of these, which a run can keep"
    found |= {"other_arguments": lost} if lost else {}
    return found | ({"unrecorded": why} if why else {})


def untrained(run: Run) -> Run | None:
    """The run with the parameters that it began with: its source, executed with its seed.

    Random generators are left as they were.

    Returns:
        None for a run that was trained from an ``Experiment``, or from a function that uses what no
        run can keep.
    """
    config = run.config if run.folder.config_path.exists() else {}
    if not is_kept(config):
        return None
    generators = random_state()
    try:
        experiment = rebuild(run.folder, config)
        state = prepare(experiment, run.data.device)
    finally:
        set_random_state(generators)
    return finish(run.folder, experiment, state, {}, 0, seed=run.seed)
