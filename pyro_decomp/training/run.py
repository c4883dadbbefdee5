"""A trained run, and getting one back from its folder."""

import hashlib
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from pyro_decomp import arguments
from pyro_decomp.data.batches import Data
from pyro_decomp.data.checks import blocks
from pyro_decomp.data.stored import Stored
from pyro_decomp.errors import RunError
from pyro_decomp.seeds import random_state, set_random_state, set_seed
from pyro_decomp.training.experiment import Experiment, Program
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.json_files import plain, read_json
from pyro_decomp.training.run_folder import History, RunFolder
from pyro_decomp.training.run_methods import RunMethods
from pyro_decomp.training.state import State, prepare
from pyro_decomp.training.stretches import ends_of, lengthen


@dataclass
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

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def config(self) -> dict[str, Any]:
        """The contents of ``config.json``."""
        return self.folder.read_config()

    @property
    def resources(self) -> dict[str, Any]:
        """The contents of ``resources.json``; empty where the run was not trained to its end."""
        path = self.folder.resources_path
        return dict(read_json(path)) if path.exists() else {}

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


def load(
    path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    experiment: Experiment | None = None,
    checkpoint: Literal["last", "best"] = "last",
) -> Run:
    """Get a run back: model, guide, data and history as they were at a checkpoint.

    The experiment file's text, kept in the run, is executed; nothing is trained or unpickled, and
    the random generators are left as they were.

    Args:
        path: The run folder.
        device: Where to put it.
        experiment: The experiment, for a run that was trained from Python rather than a file.
        checkpoint: "last", or the "best", which :class:`~pyro_decomp.callbacks.BestCheckpoint`
            keeps.

    Returns:
        The run.

    Raises:
        RunError: There is no run, no checkpoint yet, or they cannot be read.
        ExperimentError: The run's experiment no longer runs.
    """
    arguments.annotated(load, locals())
    arguments.device(device=device)
    folder = RunFolder(path)
    config = folder.read_config()
    saved = folder.read_checkpoint(checkpoint)
    if saved is None:
        how = "" if checkpoint == "last" else " of its best (train with BestCheckpoint())"
        raise RunError(f"{folder.path}: the run has no checkpoint{how} yet")
    generators = random_state()
    try:
        if experiment is None:
            experiment = rebuild(folder, config)
        lengthen(experiment, ends_of(config))
        state = prepare(experiment, device)
    finally:
        set_random_state(generators)
    try:
        state.load_tensors(saved)
    except (RuntimeError, KeyError, ValueError) as error:
        raise RunError(
            f"{folder.checkpoint_paths[checkpoint]} does not fit the run's experiment: {error}"
        ) from error
    state.load_python(saved.get("python"))
    step = int(saved["step"])
    history = folder.read_history(step, saved["rows"])
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
    source: ExperimentFile | None,
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """The description that ``config.json`` records of a run, but for its execution and digest."""
    return {
        "arguments": {name: plain(value) for name, value in arguments.items()},
        "seed": seed,
        "device": str(device),
        "total_steps": experiment.total_steps,
        "steps_per_epoch": experiment.steps_per_epoch,
        "schedules": {name: list(ends) for name, ends in experiment.scheduled_ranges().items()},
        "num_data": len(experiment.data),
        "versions": _versions(),
        "source_file": None if source is None else str(source.path.resolve()),
        "source_sha256": None if source is None else source.sha256,
        "source": None if source is None else source.source,
    }


def rebuild(folder: RunFolder, config: Mapping[str, Any]) -> Experiment:
    """The experiment of a run as it was before training, its file executed with the run's seed.

    The global random generators are seeded.

    Raises:
        RunError: The run was trained from Python.
        ExperimentError: Its experiment no longer runs.
    """
    if config.get("source") is None:
        raise RunError(
            f"{folder.path} was trained from Python, not from a file: give "
            "load(path, experiment=...) with its experiment"
        )
    seed = int(config["seed"])
    source = ExperimentFile.from_source(config["source"], config["source_file"], seed=seed)
    set_seed(seed)
    return source.build(config["arguments"])


@cache
def _versions() -> dict[str, str]:
    packages = ("pyro-decomp", "torch", "pyro-ppl", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def digest(experiment: Experiment) -> str:
    """A digest of the training data, by which a run that resumes knows its own.

    It is that of the values of which batches are made, however they are stored.
    """
    data = experiment.data
    found = hashlib.blake2b(digest_size=16)
    for index, tensor in enumerate(data.tensors):
        if index:
            found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        for block in tensor.telling() if isinstance(tensor, Stored) else blocks(tensor):
            found.update(block.detach().cpu().contiguous().numpy().data)
    return found.hexdigest()


def untrained(run: Run) -> Run | None:
    """The run with the parameters that it began with: its file, executed with its seed.

    Random generators are left as they were.

    Returns:
        None for a run that was trained from Python, whose experiment is in no file.
    """
    config = run.config if run.folder.config_path.exists() else {}
    if config.get("source") is None:
        return None
    generators = random_state()
    try:
        experiment = rebuild(run.folder, config)
        state = prepare(experiment, run.data.device)
    finally:
        set_random_state(generators)
    return finish(run.folder, experiment, state, {}, 0, seed=run.seed)
