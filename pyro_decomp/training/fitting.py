"""A prepared experiment trained into its folder, from its beginning or from a checkpoint."""

import copy
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import Any

from pyro_decomp import arguments
from pyro_decomp.acceleration import Execution, choose, peak_memory, process_settings, resolve
from pyro_decomp.errors import ExperimentError, one_line
from pyro_decomp.seeds import derive, set_seed
from pyro_decomp.training import environments
from pyro_decomp.training.callbacks import Callback
from pyro_decomp.training.display import in_notebook
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.interruption import Interrupted, stop_requests
from pyro_decomp.training.loop import ExecutionWarning
from pyro_decomp.training.progress import Progress
from pyro_decomp.training.recorded.kept import KeptTensors
from pyro_decomp.training.run import Run, finish
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.single_run import SingleRun
from pyro_decomp.training.state import State, optimizer_of, step_source

TRAINING_STREAM = 1


def fit(
    experiment: Experiment,
    state: State,
    folder: RunFolder,
    *,
    held: ExitStack,
    seed: int,
    execution: Execution,
    callbacks: Sequence[Callback] = (),
    config: Mapping[str, Any] | None = None,
    force: bool = False,
    checkpoint: Mapping[str, Any] | None = None,
    tensors: KeptTensors | None = None,
) -> tuple[SingleRun, Interrupted | None]:
    """Train an experiment, in place, to its last step or until the user stops it.

    With ``config`` the folder is begun, without it goes on, from ``checkpoint`` where there is one.
    Other processes are kept from writing there until ``held`` is closed, which does so already
    where the folder goes on.

    Returns:
        The training, whose folder may be a numbered one; and how it was stopped, if it was.
    """
    source = step_source(experiment, state)
    execution = resolve(execution, source)
    optimizer = optimizer_of(experiment, state)
    state.train(True)
    with process_settings(execution.threads):
        compute, chosen = choose(execution, source, optimizer, is_resumed=config is None)
    done = int(checkpoint["step"]) if checkpoint else 0
    if config is None:
        is_same = chosen.steps == execution.steps
        chosen = execution if is_same else execution.going(chosen.steps, done + 1, chosen.why)
    execution, device = chosen, next(iter(state.parameters.values())).device
    now = environments.environment(execution, device, done + 1)
    with arguments.raised_as(ExperimentError):
        loop = SingleRun(
            experiment,
            state,
            optimizer,
            folder,
            seed=seed,
            compute=compute,
            execution=execution,
            callbacks=_told(experiment, callbacks),
        )
    if config is not None:
        how = {"execution": asdict(execution), "environments": [now]}
        loop.folder = folder.open_new({**config, **how}, force=force, held=held)
    else:
        _go_on_in(folder, now, execution, partial(environments.sums_pairs, source))
    stopped = None
    with stop_requests() as stop, process_settings(execution.threads):
        if checkpoint is None:
            if tensors is not None:
                tensors.write(loop.folder.path)
            set_seed(derive(seed, TRAINING_STREAM))
            loop.begin()
        else:
            loop.restore(checkpoint)
        began, first = time.monotonic(), loop.step
        try:
            loop.run(stop, loop.folder.path)
        except Interrupted as interruption:
            stopped = interruption
    if stopped is None and loop.step > first:
        took: dict[str, Any] = {"steps": loop.step - first, "seconds": time.monotonic() - began}
        took["peak_resident_bytes"] = peak_memory()
        took |= {"stopped": loop.stopped} if loop.stopped else {}
        try:
            loop.folder.write_resources(took)
        except OSError as error:
            warnings.warn(f"the run is whole, but what it took is not kept: {error}", stacklevel=3)
    return loop, stopped


def _go_on_in(
    folder: RunFolder,
    now: environments.Environment,
    execution: Execution,
    sums_pairs: Callable[[], bool],
) -> None:
    """Record what the steps to come are computed by, and warn where their bits may be others."""
    config = folder.read_config()
    before = environments.of_config(config, until_step=now["from_step"] - 1)
    kept = environments.followed(before, now)
    if kept != config.get("environments", before) or execution != Execution.of_config(config):
        folder.write_execution(asdict(execution), kept)
    if why := environments.departure(before, now, sums_pairs):
        warnings.warn(f"{folder.path}: {why}", ExecutionWarning, stacklevel=5)


def ended(loop: SingleRun, stopped: Interrupted | None, seed: int) -> Run:
    """The run of a training that is over.

    Raises:
        Interrupted: It was stopped, and this is no notebook; the error has the run.
    """
    history = loop.histories[0]
    run = finish(loop.folder, loop.experiment, loop.state, history, loop.step, seed=seed)
    return run if stopped is None else handed_back(run, stopped)


def handed_back(run: Run, stopped: Interrupted) -> Run:
    """Mark a run as interrupted, and return it in a notebook.

    Raises:
        Interrupted: This is no notebook; the error has the run.
    """
    run.interrupted = True
    run.folder.keep()
    if in_notebook():
        return run
    stopped.run = run
    raise stopped


def _told(experiment: Experiment, callbacks: Sequence[Callback]) -> list[Callback]:
    """All callbacks of one training; those of the experiment, a description, are copies."""
    try:
        told = [*copy.deepcopy(list(experiment.callbacks)), *callbacks]
    except Exception as error:
        raise ExperimentError(
            f"callbacks: those of an experiment are copied for each run, and one cannot be "
            f"({one_line(error)}); give it to train(callbacks=[...])"
        ) from error
    if len({id(each) for each in told}) < len(told):
        raise ExperimentError("callbacks: expected each once, got one of them twice")
    if not any(isinstance(each, Progress) for each in told):
        told.append(Progress())
    return sorted(told, key=lambda each: getattr(each, "is_last", False))
