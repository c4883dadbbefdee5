"""Training an experiment into a run folder."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pyro.poutine import Trace
from torch import nn

from pyro_decomp import arguments as check
from pyro_decomp.acceleration import Execution
from pyro_decomp.errors import RunError
from pyro_decomp.programs.program_state.copies import check_own
from pyro_decomp.schedules import UnfinishedScheduleWarning
from pyro_decomp.training.callbacks import Callback
from pyro_decomp.training.data_support import check_support
from pyro_decomp.training.description import digest, sites_text
from pyro_decomp.training.experiment import CALLBACKS, Experiment
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.fitting import ended, fit
from pyro_decomp.training.record import Buildable, built, tensors_of, warn_unrecorded
from pyro_decomp.training.run import Run, describe
from pyro_decomp.training.run_folder import RunFolder, temporary_folder
from pyro_decomp.training.state import prepare

__all__ = ["Execution", "train"]

SAME = ("arguments", "seed", "source_sha256", "num_data", "total_steps", "schedules")
OTHER = {
    "source_sha256": "a different experiment file or function",
    "data_blake2b": "different data",
}


def train(
    experiment: Buildable,
    out: str | Path | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    execution: Execution | None = None,
    resume: bool = False,
    force: bool = False,
    arguments: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Run:
    """Train an experiment into a run folder.

    The same experiment and seed give the same bits on the same processor, also when the run was
    killed and resumed.

    Args:
        experiment: What to train: an experiment, an experiment file, or a function that builds an
            experiment.
        out: The run folder; by default a temporary one, which is there as long as the run is.
        seed: Of batches and noise; and of initial parameters, where a file or function is given.
        device: Where to train.
        execution: How steps are computed; a run that is resumed goes on as it began.
        resume: Continue the run in ``out`` from its last checkpoint; start it if there is none.
        force: Replace the run in ``out``.
        arguments: What the file's ``experiment``, or the function, is called with.
        callbacks: Are told of what happens, after those of the experiment, in the order given; see
            :mod:`pyro_decomp.callbacks`. A :class:`~pyro_decomp.callbacks.Progress` is added where
            there is none.

    Returns:
        The trained run, its networks in evaluation mode.

    Raises:
        ExperimentError: No experiment can be built.
        ModelError: The model, guide and data do not fit together.
        NonFiniteError: A term or gradient became infinite or not a number; the last checkpoint is
            from before.
        RunError: The folder cannot be used as asked.
        Interrupted: The user stopped the run.
    """
    check.annotated(train, locals(), seed=0)
    check.device(device=device)
    check.items(Callback, CALLBACKS, callbacks=callbacks)
    if resume and force:
        raise RunError("expected one of --resume and --force, got both")
    given, arguments = experiment, dict(arguments or {})
    experiment, source = built(given, arguments, seed)
    folder = temporary_folder() if out is None else RunFolder(out)
    config = describe(experiment, seed, device, source, arguments)
    checkpoint = _saved(folder, config) if resume else None
    execution = execution or Execution()
    if resume and folder.config_path.exists():
        execution = _as_before(folder, execution)
    warn_unrecorded(config)
    _warn_of_unfinished_schedules(experiment)
    state = prepare(experiment, device, check=None if checkpoint else partial(check_first, config))
    if not isinstance(given, ExperimentFile):
        roots = given.programs if isinstance(given, Experiment) else {"": given}
        check_own(roots, experiment.programs, state.program.moving)
    config["data_blake2b"] = digest(experiment)  # of the types that the programs take
    if checkpoint is not None:
        _check_same(folder, config, "data_blake2b")
    loop, stopped = fit(
        experiment,
        state,
        folder,
        seed=seed,
        execution=execution,
        callbacks=callbacks,
        config=None if resume and folder.config_path.exists() else config,
        force=force,
        checkpoint=checkpoint,
        tensors=tensors_of(source),
    )
    return ended(loop, stopped, seed)


def check_first(
    config: dict[str, Any], experiment: Experiment, modules: Sequence[nn.Module], first: Trace
) -> None:
    """Check the data against the likelihood, and record the model's sites."""
    check_support(experiment, modules, first)
    config["sites"] = sites_text(first)


def _saved(folder: RunFolder, config: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint to continue from, None if there is none yet, checked to be of the same run."""
    if not folder.config_path.exists():
        return None
    _check_same(folder, config, *SAME)
    return folder.read_checkpoint()


def _check_same(folder: RunFolder, config: Mapping[str, Any], *keys: str) -> None:
    before = folder.read_config()
    before.setdefault("schedules", config["schedules"])  # which runs did not always record
    for key in keys:
        if before.get(key) != config[key]:
            what = OTHER.get(key, f"{key} {before.get(key)}, not {config[key]}")
            raise RunError(
                f"{folder.path} cannot be resumed: it was started with {what}; use the same, or "
                "train into another folder with --out"
            )


def _as_before(folder: RunFolder, asked: Execution) -> Execution:
    """How the steps of a run were computed that is to go on."""
    before = Execution.of_config(folder.read_config())
    if different := asked.differs_from(before):
        raise RunError(
            f"{folder.path} cannot be resumed with {', '.join(different)}: it was started with "
            f"{before}; leave that out, or train into another folder with --out"
        )
    return before


def _warn_of_unfinished_schedules(experiment: Experiment) -> None:
    total = experiment.total_steps
    for name, schedule in experiment.schedules.items():
        if schedule.last_step(total) > total:
            warnings.warn(
                f"the schedule of {name} ends at step {schedule.last_step(total):.0f}, but the run "
                f"at step {total}, where {name} is {schedule.value(total, total):.4g}",
                UnfinishedScheduleWarning,
                stacklevel=3,
            )
