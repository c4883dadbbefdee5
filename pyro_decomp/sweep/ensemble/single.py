"""A member trained by itself, as the command line trains a run."""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from pyro_decomp.acceleration import Execution
from pyro_decomp.errors import DiskError, NonFiniteError, writing
from pyro_decomp.sweep.ensemble.members import Member, Outcome
from pyro_decomp.training.callbacks import Callback, Training
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.progress import Progress
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.training import train
from pyro_decomp.training.user_code import sentence


def train_single(
    source: ExperimentFile,
    member: Member,
    folder: Path,
    *,
    device: str = "cpu",
    report: Callable[[int, int], None] | None = None,
    why: str = "",
) -> Outcome:
    """Train a member into its run folder, or go on with it from its last checkpoint.

    Whatever the user's file or the training raises becomes the outcome's message.

    Args:
        source: The experiment file, which is run again with the member's seed.
        member: What to train.
        folder: Its run folder.
        device: Where to train.
        report: Called with the steps done and those of the whole run after every logged step.
        why: It is not trained with others, as was planned, in a clause; ``config.json`` says so.

    Raises:
        Interrupted: The user stopped it; all that was done is saved.
        DiskError: Its folder cannot be written.
    """
    began, telling = time.monotonic(), _Telling(report)
    step, status, message = 0, "finished", ""
    try:
        with writing(folder):
            run = train(
                source, folder, seed=member.seed, device=device, resume=True,
                arguments=member.arguments, callbacks=[telling, Progress("none")],
            )  # fmt: skip
        step = run.step
        if run.interrupted:  # and returned, as in a notebook
            raise Interrupted(step, folder)
        if why:
            execution = Execution.of_config(run.config)
            reasons = [execution.why, f"alone, as {why}"]
            told = replace(execution, why="; ".join(filter(None, reasons)))
            run.folder.write_execution(asdict(told))
    except (Interrupted, DiskError):
        raise
    except NonFiniteError as error:
        status, message = "not finite", sentence(error)
        step = max(telling.steps, _saved_step(folder))
    except Exception as error:
        step, status, message = telling.steps, "failed", sentence(error)
    return Outcome(member.name, status, step, time.monotonic() - began, message)


class _Telling(Callback):
    """Tells how far a member is, and knows it."""

    def __init__(self, report: Callable[[int, int], None] | None) -> None:
        self.steps, self._report = 0, report

    def step(self, training: Training) -> None:
        self.steps = training.step
        if self._report is not None and training.is_logged:
            self._report(training.step, training.total_steps)


def _saved_step(folder: Path) -> int:
    """The step of the last checkpoint: a resumed run may fail before its first report."""
    checkpoint = RunFolder(folder).read_checkpoint()
    return int(checkpoint["step"]) if checkpoint else 0
