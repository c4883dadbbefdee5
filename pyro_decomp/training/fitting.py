"""A prepared experiment trained into its folder, from its beginning or from a checkpoint."""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pyro_decomp import arguments
from pyro_decomp.acceleration import Execution, choose, peak_memory, process_settings, resolve
from pyro_decomp.divergences.auxiliary import make_optimizer
from pyro_decomp.errors import ExperimentError, one_line
from pyro_decomp.seeds import derive, set_seed
from pyro_decomp.training.callbacks import Callback
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.interruption import Interrupted, stop_requests
from pyro_decomp.training.progress import Progress
from pyro_decomp.training.run_folder import RunFolder
from pyro_decomp.training.single_run import SingleRun
from pyro_decomp.training.state import State, step_source

TRAINING_STREAM = 1


def fit(
    experiment: Experiment,
    state: State,
    folder: RunFolder,
    *,
    seed: int,
    execution: Execution,
    callbacks: Sequence[Callback] = (),
    config: Mapping[str, Any] | None = None,
    force: bool = False,
    checkpoint: Mapping[str, Any] | None = None,
) -> tuple[SingleRun, Interrupted | None]:
    """Train an experiment, in place, to its last step or until the user stops it.

    Args:
        experiment: What is trained.
        state: Its networks and parameters.
        folder: Where to.
        seed: Of batches and noise.
        execution: How steps are computed.
        callbacks: Are told of events, after those of the experiment.
        config: What the run is, for a folder that is to be begun; None goes on in the one there is.
        force: Begin it in place of the run that is there.
        checkpoint: To go on from.

    Returns:
        The training, whose folder may be a numbered one; and how it was stopped, if it was.
    """
    source = step_source(experiment, state)
    execution = resolve(execution, source)
    try:
        optimizer = make_optimizer(experiment.optimizer, state.parameters.values())
    except (ValueError, TypeError, RuntimeError) as error:
        raise ExperimentError(f"the optimiser cannot be made: {error}") from error
    state.train(True)
    with process_settings(execution.threads):
        compute, execution = choose(execution, source, optimizer, is_resumed=checkpoint is not None)
    with arguments.raised_as(ExperimentError):
        loop = SingleRun(
            experiment,
            state,
            optimizer,
            folder,
            seed=seed,
            compute=compute,
            execution=execution,
            callbacks=told(experiment, callbacks),
        )
    if config is not None:
        loop.folder = folder.open_new({**config, "execution": asdict(execution)}, force=force)
    stopped = None
    with stop_requests() as stop, process_settings(execution.threads):
        if checkpoint is None:
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
        seconds = time.monotonic() - began
        peak = peak_memory()
        took = {"steps": loop.step - first, "seconds": seconds, "peak_resident_bytes": peak}
        loop.folder.write_resources(took | ({"stopped": loop.stopped} if loop.stopped else {}))
    return loop, stopped


def told(experiment: Experiment, callbacks: Sequence[Callback]) -> list[Callback]:
    """All callbacks of one training; those of the experiment, a description, are copies."""
    try:
        found = [*copy.deepcopy(list(experiment.callbacks)), *callbacks]
    except Exception as error:
        raise ExperimentError(
            f"callbacks: those of an experiment are copied for each run, and one cannot be "
            f"({one_line(error)}); give it to train(callbacks=[...])"
        ) from error
    if not any(isinstance(each, Progress) for each in found):
        found.append(Progress())
    return sorted(found, key=lambda each: getattr(each, "is_last", False))
