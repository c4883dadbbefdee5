"""Training an experiment into a run folder."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pyro.poutine import Trace
from torch import nn

from pyro_decomp import arguments as check
from pyro_decomp.acceleration import Execution, check_count
from pyro_decomp.errors import ArgumentError, ExperimentError, RunError
from pyro_decomp.programs.program_state.copies import check_own
from pyro_decomp.schedules import UnfinishedScheduleWarning
from pyro_decomp.training import environments
from pyro_decomp.training.callbacks import Callback
from pyro_decomp.training.data_support import check_support
from pyro_decomp.training.description import are_near, data_record, sites_text
from pyro_decomp.training.experiment import CALLBACKS, Experiment
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.fitting import ended, fit
from pyro_decomp.training.record import Buildable, built, warn_unrecorded
from pyro_decomp.training.run import Run, describe
from pyro_decomp.training.run_files.json_files import is_plain
from pyro_decomp.training.run_files.run_folder import RunFolder, temporary_folder
from pyro_decomp.training.state import prepare
from pyro_decomp.training.stretches import go_on
from pyro_decomp.training.user_code import memory_counted

__all__ = ["Execution", "train"]

SAME = ("arguments", "seed", "source_sha256", "num_data", "total_steps", "schedules")
OTHER = {
    "source_sha256": "a different experiment file or function",
    "data_blake2b": "different data",
}


def train(
    experiment: Buildable | str | Path,
    out: str | Path | None = None,
    *,
    seed: int = 0,
    seeds: Sequence[int] | None = None,
    device: torch.device | str = "cpu",
    execution: Execution | None = None,
    resume: bool = False,
    force: bool = False,
    arguments: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Any:
    """Train an experiment into a run folder.

    What is given is a description: the run has networks, an objective and Python state of its own,
    copied from the experiment, on the same data. The same call gives the same bits on the same
    processor, whatever was trained before, also when the run was killed and resumed.

    Args:
        experiment: What to train: an experiment, an experiment file or its path, or a function
            that builds an experiment.
        out: The run folder; where that holds a finished run, another with a number, such as
            ``a-2``. By default a temporary one, which is there as long as the run is, or for good
            if it is interrupted.
        seed: Of batches and noise; and of initial parameters, where a file or function is given.
        seeds: Train with each of these instead, into one folder below ``out`` each. Runs of a file
            or function are trained together where that can be, as the members of a sweep, unless
            ``execution`` or ``callbacks`` are given.
        device: Where to train.
        execution: How steps are computed; a run that is resumed goes on as it began.
        resume: Continue the run in ``out`` from its last checkpoint; start it if there is none.
        force: Replace the run in ``out``.
        arguments: What the file's ``experiment``, or the function, is called with.
        callbacks: Are told of what happens, after those of the experiment, in the order given; see
            :mod:`pyro_decomp.callbacks`. A :class:`~pyro_decomp.callbacks.Progress` is added where
            there is none.

    Returns:
        The trained :class:`.Run`, its networks in evaluation mode; a list of them with ``seeds``.
        In a notebook, if stopped, the run so far, ``run.interrupted``.

    Raises:
        ExperimentError: No experiment can be built.
        ModelError: The model, guide and data do not fit together.
        NonFiniteError: A term or gradient became infinite or not a number; the step before it is
            saved.
        RunError: The folder cannot be used as asked.
        OutOfMemoryError: A step takes more memory than is free.
        Interrupted: The user stopped the run, outside of a notebook; ``run.train()`` goes on.
    """
    check.annotated(train, locals())
    check.whole(0, check.LARGEST_SEED, seed=seed)
    if isinstance(experiment, str | Path):
        experiment = ExperimentFile.read(experiment, seed=seed)
    arguments = {name: _number(value) for name, value in (arguments or {}).items()}
    one = partial(
        train_one,
        experiment,
        device=device,
        execution=execution,
        resume=resume,
        force=force,
        arguments=arguments,
        callbacks=callbacks,
    )
    if seeds is None:
        return one(out, seed=int(seed))
    from pyro_decomp.sweep.grid import check_number  # noqa: PLC0415
    from pyro_decomp.sweep.seeds import one_by_one, together  # noqa: PLC0415 (a room above)

    check_number(seeds)
    for each in seeds:
        check.whole(0, check.LARGEST_SEED, seeds=each)
    seeds = [int(each) for each in seeds]
    if not seeds or len(set(seeds)) < len(seeds) or seed != 0:
        raise ArgumentError(f"seeds: expected different seeds and no seed beside them, got {seeds}")
    file = _file_of(experiment, arguments)
    if file is not None and execution is None and not callbacks:
        options = {"device": str(device), "resume": resume, "force": force}
        return together(file, out, seeds, arguments, **options)
    return one_by_one(one, out, seeds)


def _number(value: Any) -> Any:
    """A number of numpy, such as one of ``linspace``, as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _file_of(given: Buildable, arguments: Mapping[str, Any]) -> ExperimentFile | None:
    """The file or function as one that each member of a sweep can be built from, if it can be."""
    if isinstance(given, ExperimentFile):
        return given
    if isinstance(given, Experiment) or not all(map(is_plain, arguments.values())):
        return None
    try:
        return ExperimentFile.of_function(given)
    except ExperimentError:
        return None


def train_one(
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
    """Train with one seed; see :func:`train`."""
    check.device(device=device)
    check.items(Callback, CALLBACKS, callbacks=callbacks)
    if resume and force:
        raise RunError("expected one of resume and force, got both")
    given, arguments = experiment, dict(arguments or {})
    experiment, source = built(given, arguments, seed)
    folder = temporary_folder() if out is None else RunFolder(out)
    is_there = resume and folder.config_path.exists()
    ends: list[int] = []
    with ExitStack() as held, memory_counted():
        if is_there:
            held.enter_context(folder.written())
            ends, arguments = go_on(experiment, folder, arguments)
        config = describe(experiment, seed, device, source, arguments)
        checkpoint, execution = None, execution or Execution()
        with check.raised_as(ExperimentError):
            check_count(threads=None if is_there else execution.threads)
        if is_there:
            _check_same(folder, config, *SAME, total_steps=ends[-1])
            checkpoint, execution = folder.read_checkpoint(), _as_before(folder, execution)
        warn_unrecorded(config)
        _warn_of_unfinished_schedules(experiment)
        state = prepare(
            experiment, device, check=None if checkpoint else partial(check_first, config)
        )
        if not isinstance(given, ExperimentFile):
            roots = given.programs if isinstance(given, Experiment) else {"": given}
            check_own(roots, experiment.programs, state.program.moving)
        config |= data_record(experiment)  # of the types that the programs take
        if checkpoint is not None and not _is_rounded(folder, config):
            _check_same(folder, config, "data_blake2b")
        if len(ends) > 1:
            folder.write_stretches(ends)
        loop, stopped = fit(
            experiment,
            state,
            folder,
            held=held,
            seed=seed,
            execution=execution,
            callbacks=callbacks,
            config=None if is_there else config,
            force=force,
            checkpoint=checkpoint,
            tensors=source.tensors if isinstance(source, ExperimentFile) else None,
        )
        return ended(loop, stopped, seed)


def check_first(
    config: dict[str, Any], experiment: Experiment, modules: Sequence[nn.Module], first: Trace
) -> None:
    """Check the data against the likelihood, and record the model's sites."""
    check_support(experiment, modules, first)
    config["sites"] = sites_text(first)


def _check_same(folder: RunFolder, config: Mapping[str, Any], *keys: str, **known: Any) -> None:
    before = folder.read_config() | known
    before.setdefault("schedules", config["schedules"])  # which runs did not always record
    for key in keys:
        if before.get(key) != config[key]:
            what = OTHER.get(key, f"{key} {before.get(key)}, not {config[key]}")
            raise RunError(
                f"{folder.path} cannot be resumed: it was started with {what}; use the same, or "
                "train into another folder with --out"
            )


def _is_rounded(folder: RunFolder, config: Mapping[str, Any]) -> bool:
    """Whether the data are those of the run as another processor, which has it now, rounds them."""
    before = folder.read_config()
    begun_on = environments.of_config(before, until_step=1)[0].get("processor")
    now = environments.processor(torch.device(config["device"]))
    is_same = before.get("data_blake2b") == config["data_blake2b"]
    return not is_same and begun_on not in (None, now) and are_near(folder.path, before, config)


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
                stacklevel=4,
            )
