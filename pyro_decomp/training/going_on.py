"""A run that goes on: to the end that it was to have, or beyond it."""

from collections.abc import Sequence
from contextlib import ExitStack

from pyro_decomp import arguments
from pyro_decomp.acceleration import Execution
from pyro_decomp.errors import RunError
from pyro_decomp.training.callbacks import Callback
from pyro_decomp.training.experiment import CALLBACKS
from pyro_decomp.training.fitting import fit, handed_back
from pyro_decomp.training.run import Run, finish
from pyro_decomp.training.run_files.history import History
from pyro_decomp.training.stretches import ends_of, lengthen
from pyro_decomp.training.user_code import memory_counted


def train_on(run: Run, epochs: int | None, callbacks: Sequence[Callback]) -> Run:
    """Train a run further, in place and in its folder; see :meth:`.Run.train`."""
    arguments.whole(**arguments.given(epochs=epochs))
    arguments.items(Callback, CALLBACKS, callbacks=callbacks)
    with ExitStack() as held, memory_counted():
        held.enter_context(run.folder.written())
        return _train_on(run, epochs, callbacks, held)


def _train_on(run: Run, epochs: int | None, callbacks: Sequence[Callback], held: ExitStack) -> Run:
    folder, experiment = run.folder, run.experiment
    config, checkpoint = folder.read_config(), folder.read_checkpoint()
    if checkpoint is None or checkpoint["step"] != run.step or config["seed"] != run.seed:
        raise RunError(
            f"{folder.path}: expected the checkpoint of step {run.step} of this run, found another "
            f"(get the run that is there with load({str(folder.path)!r}))"
        )
    ends, is_stopped = ends_of(config), bool(checkpoint.pop("stopped_before", 0))
    if epochs is not None:
        per_epoch = experiment.steps_per_epoch
        done = -(-run.step // per_epoch) * per_epoch if is_stopped else ends[-1]
        ends.append(done + int(epochs) * per_epoch)
        folder.write_stretches(ends)
    elif run.step == ends[-1] or is_stopped:
        raise RunError(
            f"{folder.path} has been trained to its end, step {run.step}: expected how many more "
            "epochs, as in run.train(epochs=100)"
        )
    lengthen(experiment, ends)
    folder.note = ""  # it was said when the run began
    experiment.apply_schedules(1)
    try:
        loop, stopped = fit(
            experiment,
            run.state,
            folder,
            held=held,
            seed=run.seed,
            execution=Execution.of_config(config),
            callbacks=callbacks,
            checkpoint=checkpoint,
        )
    except BaseException:  # what the networks were halfway is of no use
        saved = folder.read_checkpoint() or checkpoint
        run.state.load_tensors(saved)
        run.state.load_python(saved.get("python"))
        _set(run, folder.read_history(saved["step"], saved["rows"]), saved["step"])
        raise
    _set(run, loop.histories[0], loop.step)
    run.interrupted = False
    return run if stopped is None else handed_back(run, stopped)


def _set(run: Run, history: History, step: int) -> None:
    """Have a run at another step, in evaluation mode."""
    so_far = finish(run.folder, run.experiment, run.state, history, step, seed=run.seed)
    run.history, run.step = so_far.history, step
