"""What a run saves that ends before its last step, whatever ends it."""

import copy
import signal
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch

from pyro_decomp.acceleration import StepSource
from pyro_decomp.errors import NonFiniteError
from pyro_decomp.training.interruption import Interrupted, StopRequest
from pyro_decomp.training.run_files.history import History
from pyro_decomp.training.run_files.run_folder import RunFolder, Which
from pyro_decomp.training.run_files.writer import TakenOverError
from pyro_decomp.training.taking_back import BegunStep, begins_with


class Saved(Protocol):
    """What a run that is saved has; see :class:`.SingleRun`."""

    step: int
    histories: list[History]
    folder: RunFolder

    def take_steps(self) -> Iterator[int]:
        """Take step after step."""

    def save_as(self, which: Which) -> None:
        """Write history and a checkpoint."""

    def python(self, index: int) -> dict[str, Any]:
        """What its programs keep in Python."""

    def go_back_to(self, step: int, checkpoint: Mapping[str, Any]) -> None:
        """Be at an earlier step."""


class _NotTakenBackError(Exception):
    """A step that failed cannot be undone."""


class Ending:
    """Saves the last whole step of a run that something ends.

    A step that failed before its update is taken back. Where that cannot be done, or a parameter is
    not finite, the steps since the last checkpoint are taken again up to the one before. Where
    these come to something else, the checkpoint stays.

    Args:
        run: The run.
        source: What its steps are computed from.
        device: Where.
    """

    def __init__(self, run: Saved, source: StepSource, device: torch.device) -> None:
        self._run, self._source, self._device = run, source, device
        self._begun: BegunStep | None = None
        self._is_whole = True  # state and history are of the same step
        self._saved_step = 0
        self._saved_rest: tuple[Any, Any] = None, None  # generators, and what Python keeps

    def begin_step(self) -> None:
        """Keep what a step moves before its update."""
        if self._begun is None:
            self._begun = BegunStep(self._source, self._device)
        self._begun.keep()
        self._is_whole = False

    def begin_update(self) -> None:
        """Note that the step can no longer be taken back."""
        if self._begun is not None:
            self._begun.forget()

    def end_step(self) -> None:
        """Note that state and history are of the same step."""
        self._is_whole = True

    def note_saved(self, checkpoint: Mapping[str, Any]) -> None:
        """Note what the last checkpoint holds."""
        self._saved_step = int(checkpoint["step"])
        self._saved_rest = checkpoint["random"], copy.deepcopy(checkpoint.get("python"))

    def release(self) -> None:
        """Hold the run no longer, which is then gone with the last that does."""
        del self._run, self._begun

    def saved(self, error: BaseException, path: Path, stop: StopRequest) -> BaseException:
        """Save the last whole step, and give what ended the run with a note of the step saved."""
        run = self._run
        if isinstance(error, Interrupted) and error.out is path and error.step == self._saved_step:
            return error
        last, told = run.step, run.histories[0]
        try:
            if not self._is_whole and not self._take_back():
                raise _NotTakenBackError
            run.save_as("last")
        except TakenOverError as taken:
            return taken
        except (_NotTakenBackError, NonFiniteError) as failure:
            last -= isinstance(failure, NonFiniteError)  # which its parameters became in that step
            if self._back_to_checkpoint(told) and not isinstance(error, KeyboardInterrupt):
                self._take_again(last, told, stop)
        except Exception:
            self._back_to_checkpoint(told)
        if isinstance(error, KeyboardInterrupt):
            return Interrupted(run.step, path, getattr(error, "signal", signal.SIGINT))
        run.folder.keep()
        way = "--resume (resume=True) goes on from it, --force (force=True) begins anew"
        if isinstance(error, NonFiniteError):
            way = "--resume would come to the same again, --force (force=True) begins anew"
        error.add_note(f"step {run.step} is saved in {path}: {way}")
        return error

    def _take_back(self) -> bool:
        return self._begun is not None and self._begun.take_back(
            partial(self._run.python, 0), *self._saved_rest
        )

    def _back_to_checkpoint(self, told: History) -> bool:
        """Go back to the last checkpoint, and write the history of the steps after it too."""
        run, self._is_whole = self._run, True
        with suppress(Exception):  # which would hide what went wrong before
            run.folder.write_history(told)
        try:
            run.go_back_to(self._saved_step, run.folder.read_checkpoint() or {})
        except Exception:
            return False
        return True

    def _take_again(self, last: int, told: History, stop: StopRequest) -> None:
        """Take the steps after the checkpoint again, up to one or a stop, and save that."""
        run = self._run
        try:
            for step in run.take_steps() if last > run.step else ():
                if step == last or stop.is_set():
                    break
            if not begins_with(told, run.histories[0]):
                raise _NotTakenBackError
            run.save_as("last")
            run.folder.write_history(told)
        except Exception:
            self._back_to_checkpoint(told)
