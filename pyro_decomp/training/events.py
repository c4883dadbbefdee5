"""The events of a training, told to its callbacks so that these cannot change it by accident."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from pyro_decomp.acceleration import Departed
from pyro_decomp.errors import ExperimentError, RunError
from pyro_decomp.programs.program_state.modules import in_mode
from pyro_decomp.seeds import random_state, set_random_state
from pyro_decomp.training.callback_state import CallbackStates
from pyro_decomp.training.callbacks import EVENTS, Callback, Training, is_own
from pyro_decomp.training.loop import Loop
from pyro_decomp.training.user_code import says_all, sentence

Values = Mapping[str, float]


class Events:
    """Tells the callbacks of one run, in their order, what happens, and notes what they record.

    An error of a callback ends the run.

    Attributes:
        callbacks: Who is told.
        values: Of the last step.
        epoch_means: Of the values over the last whole epoch.
        evaluation: What was recorded of the last evaluation.
    """

    def __init__(self, callbacks: Sequence[Callback], run: Loop[Any]) -> None:
        self.callbacks = tuple(callbacks)
        self.values: Values = {}
        self.epoch_means: Values = {}
        self.evaluation: Values = {}
        self._coming: dict[str, float] = {}  # of evaluations that are yet to be told of
        self._unwritten: dict[str, float] = {}  # until the next row of the history
        self._run: Any = run
        self._training = Training(run, self)
        self._told = {event: [c for c in callbacks if _listens(c, event)] for event in EVENTS}
        self._states = CallbackStates(callbacks, run.states[0])
        for callback in callbacks:
            if check := getattr(callback, "check", None):
                check(self._training)

    def release(self) -> None:
        """Hold the run no longer, which is then gone with the last that does."""
        del self._run, self._training

    @property
    def listens(self) -> bool:
        """Whether anyone is told of steps."""
        return bool(self._told["step"] or self._told["epoch"])

    def tell(self, event: str) -> None:
        """Tell of an event all that listen to it, whatever one of them raises.

        Raises:
            RunError: One of them raised something; what the user can mend is raised as it is.
        """
        if (failed := self._failure_of(event)) is not None:
            raise failed

    def _failure_of(self, event: str) -> Exception | None:
        """Tell of an event all that listen to it, and give the first error of these."""
        failed: Exception | None = None
        for callback in self._told[event]:
            try:
                self._tell(callback, event)
            except Departed:
                raise
            except Exception as error:
                failed = failed or error
        return failed

    def _tell(self, callback: Callback, event: str) -> None:
        tell = getattr(callback, event)
        try:
            if is_own(callback):
                tell(self._training)
            else:
                with self._unmoved():
                    tell(self._training)
        except Departed:
            raise
        except Exception as error:
            if says_all(error):
                raise
            raise RunError(
                f"step {self._run.step}: the callback {type(callback).__name__} failed in "
                f"`{event}`: {sentence(error)}"
            ) from error

    def of_step(self, values: Values, means: Values) -> None:
        """Tell of a step that was taken, and of all that it is the end of.

        Args:
            values: Of the step.
            means: At the end of an epoch of several steps, their means over it; else empty.
        """
        run = self._run
        self.values = values
        self._write({})
        failures = [self._failure_of("step")]
        if run.step % run.experiments[0].steps_per_epoch == 0:
            self.epoch_means = means or values
            failures.append(self._failure_of("epoch"))
        if self._coming:
            self.evaluation, self._coming = self._coming, {}
            failures.append(self._failure_of("evaluated"))
        for failed in filter(None, failures):
            raise failed

    def record(self, values: Mapping[str, float], *, is_evaluation: bool) -> None:
        """Write numbers into columns of the history; see :meth:`.Training.record`."""
        for name in values:
            if name in ("step", "epoch", *self.values) or name.startswith("epoch_"):
                raise ExperimentError(
                    f"record: expected a name that training has no column of, got {name!r}"
                )
        if is_evaluation:
            self._coming |= values
        self._write(values)

    def _write(self, values: Mapping[str, float]) -> None:
        """Write into the row of this step, or keep it until there is one."""
        self._unwritten |= values
        if self._run.is_row and self._run.num_rows() and self._unwritten:
            history, rows = self._run.histories[0], self._run.num_rows()
            for name, value in self._unwritten.items():
                history.setdefault(name, [math.nan] * rows)[-1] = value
            self._unwritten = {}

    def noted(self) -> dict[str, Any]:
        """What a checkpoint has of callbacks and of what they recorded, but for empty parts."""
        parts = {
            "callbacks": self._states.states(),
            "evaluation": dict(self.evaluation),
            "unwritten": dict(self._unwritten),
        }
        return {name: part for name, part in parts.items() if part}

    def begin(self, checkpoint: Mapping[str, Any]) -> None:
        """Give callbacks what a checkpoint has of them; an empty one for a run that begins."""
        self.evaluation = checkpoint.get("evaluation", {})
        self._unwritten = dict(checkpoint.get("unwritten", {}))
        self._states.begin(checkpoint.get("callbacks", {}))

    def keep(self) -> tuple[Any, ...]:
        """Keep what there is now, for :meth:`put_back`."""
        noted = self.values, self.epoch_means, self.evaluation, dict(self._unwritten)
        return self._states.keep(), noted

    def put_back(self, kept: tuple[Any, ...]) -> list[str]:
        """Make everything as it was when it was kept; paths where that cannot be done."""
        states, (self.values, self.epoch_means, self.evaluation, unwritten) = kept
        self._unwritten, self._coming = dict(unwritten), {}
        return self._states.put_back(states)

    @contextmanager
    def _unmoved(self) -> Iterator[None]:
        """Run a user's method: networks in evaluation mode, generators put back afterwards."""
        state, has_gradients = self._run.states[0], torch.is_grad_enabled()
        generators, put_back = random_state(), state.program.keep_generators()
        with in_mode(state.modules, training=False):
            try:
                yield
            finally:
                put_back()
                set_random_state(generators)
                torch.set_grad_enabled(has_gradients)


def _listens(callback: Callback, event: str) -> bool:
    method: Callable[..., object] = getattr(type(callback), event)
    return method is not getattr(Callback, event)
