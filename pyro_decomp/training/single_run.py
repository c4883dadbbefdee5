"""One run in training: its steps, and how they go on where they depart from its programs."""

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_decomp.acceleration import (
    Auditor,
    Departed,
    EagerStep,
    Execution,
    GoEager,
    GraphStep,
    StepResult,
    copied,
    make_update,
    unstackable_reason,
)
from pyro_decomp.data.batches import Batch
from pyro_decomp.elbo.nonfinite import blame_gradients, remedy
from pyro_decomp.errors import NonFiniteError, RunError
from pyro_decomp.seeds import random_state, set_random_state
from pyro_decomp.training import environments
from pyro_decomp.training.auxiliary_steps import AuxiliarySteps, norm
from pyro_decomp.training.callbacks import Callback
from pyro_decomp.training.endings import Ending
from pyro_decomp.training.events import Events
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.interruption import StopRequest
from pyro_decomp.training.loop import (
    AUXILIARY_STREAM,
    BATCH_STREAM,
    ExecutionWarning,
    Loop,
    Row,
)
from pyro_decomp.training.run import Run
from pyro_decomp.training.run_files.run_folder import RunFolder, Which
from pyro_decomp.training.state import State, step_source

CLIP_EPSILON = 1e-6  # torch's, in its norm of a gradient that is clipped


class SingleRun(Loop[StepResult]):
    """The training of one run into its folder.

    Attributes:
        is_resumed: Whether steps were taken before those of this object.
    """

    def __init__(
        self,
        experiment: Experiment,
        state: State,
        optimizer: torch.optim.Optimizer,
        folder: RunFolder,
        *,
        seed: int,
        compute: EagerStep | GraphStep,
        execution: Execution,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self._auxiliaries = AuxiliarySteps(experiment.auxiliaries)
        streams = (BATCH_STREAM, AUXILIARY_STREAM) if self._auxiliaries else (BATCH_STREAM,)
        super().__init__([experiment], [state], [seed], streams)
        self.experiment, self.state, self.optimizer = experiment, state, optimizer
        self.folder, self.execution, self.seed = folder, execution, seed
        self.is_resumed = False
        self._began = 0, time.monotonic()
        self._norm = math.nan
        self._gradients: dict[str, Tensor] = {}  # where the optimiser may change them
        self._events = Events(callbacks, self)
        self.is_watched = self._events.listens
        self._source = step_source(experiment, state)
        self._compute = compute
        self._ending = Ending(self, self._source, experiment.data.device)
        self._auditor: Auditor | None = None
        if isinstance(compute, GraphStep):
            self._auditor = Auditor(
                self._source,
                optimizer,
                compute,
                precision=execution.precision,
                between=self,
            )
        self._optimize = make_update(optimizer, compute.vector)

    def run(self, stop: StopRequest, path: Path) -> None:
        """Train to the last step, or until a stop is asked for; see :meth:`.Loop.run`.

        Whatever ends it, the state after the last whole step is saved, or the checkpoint before is
        kept where that state is not to be had again; a note on the error says which step that is.

        Raises:
            Interrupted: A stop was asked for; all that was done is saved.
            RunError: Steps departed from the programs, and what these keep in Python cannot be
                taken back.
        """
        self._began = self.step, time.monotonic()
        try:
            self._events.tell("started")
            if self._auditor is not None:
                self._auditor.begin(self.step, self.num_rows())
            super().run(stop, path)
        except BaseException as error:
            ended = self._ending.saved(error, path, stop)
            with suppress(Exception):  # which would hide what went wrong before
                self._events.tell("ended")
            if ended is error:
                raise
            raise ended from error
        else:
            self._tell_of_end(path, stop)
        finally:
            self._auditor = None
            self._ending.release()
            self._events.release()

    def _tell_of_end(self, path: Path, stop: StopRequest) -> None:
        try:
            self._events.tell("ended")
        except BaseException as error:
            raise self._ending.saved(error, path, stop) from error.__cause__

    def _go_on(self, stop: StopRequest, path: Path) -> None:
        self._began = self.step, time.monotonic()
        try:
            super()._go_on(stop, path)
        except GoEager as change:
            self._go_eager(str(change))
        except Departed as departure:
            self._go_back(str(departure))

    def save(self) -> None:
        """Write a checkpoint, note what it cost, and tell of it."""
        super().save()
        self._events.tell("checkpoint")

    def _save(self) -> None:
        self.save_as("last")

    def save_as(self, which: Which) -> None:
        """Write history and a checkpoint.

        Raises:
            NonFiniteError: A parameter became infinite or not a number; nothing is written.
            Departed: The programs keep other things in Python than the steps know of; nothing is
                written.
        """
        if self._auditor is not None:
            self._auditor.check(self.step)
        trained = self.state.parameters | self._auxiliaries.parameters()
        culprits = [n for n, p in trained.items() if not bool(p.isfinite().all())]
        if culprits:
            raise NonFiniteError(
                f"step {self.step}: {', '.join(culprits)} is not finite (try a smaller learning "
                "rate)"
            )
        checkpoint = self._checkpoint(
            0,
            copied(self.optimizer.state_dict()),
            random_state(),
            self._auxiliaries.state_dict(),
        )
        checkpoint |= self._events.noted()
        if self.stopped:
            checkpoint |= {"stopped": self.stopped, "stopped_before": self.total_steps}
        self.folder.write_checkpoint(checkpoint, self.histories[0], which)
        if which == "last":
            self._ending.note_saved(checkpoint)

    def begin(self) -> None:
        """Make the first checkpoint, of what there is before any step."""
        self._events.begin({})
        self._save()

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Put everything back as it was when the checkpoint was written."""
        with self.folder.put_back():
            self.state.load_tensors(dict(checkpoint))
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            self._auxiliaries.load_state_dict(checkpoint["auxiliaries"])
            set_random_state(checkpoint["random"])
            self.state.load_python(checkpoint.get("python"))
            self._sums[0] = dict(checkpoint.get("epoch_sums", {}))
        self.step = checkpoint["step"]
        self.histories[0] = self.folder.read_history(self.step, checkpoint["rows"])
        if checkpoint.get("stopped_before") == self.total_steps:  # else it goes on beyond that end
            self.stopped = checkpoint["stopped"]
        self.is_resumed = self.step > 0
        self._ending.note_saved(checkpoint)
        self._events.begin(checkpoint)
        if not self._optimize.adopt():
            self._separate()

    def go_back_to(self, step: int, checkpoint: Mapping[str, Any]) -> None:
        """Be at an earlier step, that of a checkpoint; steps are held against nothing from then."""
        self._auditor, self.step, self.stopped = None, step, ""
        self.restore(checkpoint)

    def so_far(self) -> Run:
        """The run as it is now, with the networks that train."""
        columns = {name: np.asarray(column) for name, column in self.histories[0].items()}
        return Run(self.folder, self.experiment, self.state, columns, self.step, self.seed)

    @property
    def steps_per_second(self) -> float:
        """Of those that were taken since it began to take them."""
        first, began = self._began
        return (self.step - first) / max(time.monotonic() - began, 1e-9)

    def gradient_norms(self, *, by_parameter: bool) -> dict[str, float]:
        """Norms of the last gradient before clipping; see :meth:`.Training.gradient_norms`."""
        norms, limit = {"": self._norm}, self.experiment.clip_grad_norm
        if by_parameter:
            gradients = self._gradients or self._compute.gradients()
            each = torch.stack([gradient.norm() for gradient in gradients.values()])
            clipped = 1.0 if limit is None else min(1.0, limit / (self._norm + CLIP_EPSILON))
            norms |= dict(zip(gradients, (each / clipped).tolist(), strict=True))
        return norms

    def keep(self) -> tuple[Any, ...]:
        """Keep what is neither in the programs nor in the optimiser, for :meth:`put_back`."""
        return self._events.keep(), dict(self._sums[0]), self.stopped

    def put_back(self, kept: tuple[Any, ...]) -> list[str]:
        """Make it as it was when it was kept; paths where that cannot be done."""
        events, sums, self.stopped = kept
        self._sums[0] = dict(sums)
        return self._events.put_back(events)

    def _checked(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """Check the batches of the next step, and return them.

        Raises:
            ModelError, DataError: They cannot be trained on.
        """
        self._unseen[0].check(self.step, *batches)
        return batches

    def _begin_step(self) -> None:
        self._ending.begin_step()

    def _end_step(self) -> None:
        self._ending.end_step()

    def _computed(self, batches: Sequence[Batch]) -> StepResult:
        auditor, step = self._auditor, self.step + 1
        if not self._optimize.may_go_on():
            self._separate()
        pending = auditor and auditor.before(batches[0], step, self.num_rows())
        result = self._compute(batches[0], step)
        if auditor and pending:
            auditor.after(pending, result)
        if self._optimize.vector is not self._compute.vector:
            self._separate()
        if result.norm is None:
            result = replace(result, norm=norm(self._compute.trained))
        return result

    def _set_aside_nonfinite(self, result: StepResult, batches: Sequence[Batch]) -> None:
        """End the run where its gradient is not finite.

        Raises:
            NonFiniteError: It is not; the message names it, or the term of the objective that the
                programs now say is not finite.
        """
        assert result.norm is not None
        if math.isfinite(result.norm):
            return
        step, estimate = self.step + 1, result.estimate
        if estimate is None:
            programs = EagerStep(self._source, self.execution.precision)
            estimate, _ = programs.estimate(batches[0], step)
        hint = remedy(estimate, batches[0], step)
        hint += ", or clip_grad_norm" if "learning rate" in hint else ""
        raise NonFiniteError(blame_gradients(self._compute.gradients(), hint, step))

    def _update(self, result: StepResult) -> None:
        assert result.norm is not None
        self._ending.begin_update()
        trained, limit = self._compute.trained, self.experiment.clip_grad_norm
        self._norm = result.norm
        if limit is not None:
            whole = torch.tensor(result.norm, dtype=trained[0].dtype)
            torch.nn.utils.clip_grads_with_norm_(trained, limit, whole)
        if self.is_watched and unstackable_reason(self.optimizer):
            self._gradients = {n: g.clone() for n, g in self._compute.gradients().items()}
        self._optimize()

    def _values(self, result: StepResult) -> Sequence[dict[str, float]]:
        return [result.values]

    def _tell_of_step(self, rows: Mapping[int, Row], means: Mapping[int, Row]) -> None:
        self._events.of_step(rows[0], means[0])

    def _separate(self) -> None:
        """Let the optimiser take its steps parameter by parameter from now on."""
        self._optimize.leave()
        self._compute.separate()
        self._optimize = make_update(self.optimizer)

    def _go_eager(self, why: str) -> None:
        """Run the programs from the next step on, and say so."""
        self._separate()
        self._auditor = None
        self._compute = EagerStep(self._source, self.execution.precision)
        first = self.step + 1
        self.execution = self.execution.going("eager", first, why)
        before = environments.of_config(self.folder.read_config(), self.total_steps)
        now = before[-1] | {"from_step": first, "steps": "eager"}
        self.folder.write_execution(asdict(self.execution), environments.followed(before, now))
        warnings.warn(
            f"from step {self.step + 1} on the programs are run at every step, as {why}; what "
            "changes over a run can be a schedule or a buffer",
            ExecutionWarning,
            stacklevel=2,
        )

    def _go_back(self, why: str) -> None:
        """Go on from the last moment at which steps agreed with the programs, by the programs."""
        assert self._auditor is not None
        seen = self.step
        moment, lost = self._auditor.go_back()
        self.step = moment.step
        history = self.histories[0]
        self.histories[0] = {name: column[: moment.rows] for name, column in history.items()}
        self._optimize = make_update(self.optimizer)  # what the vector's kept is no longer right
        self._auditor = None
        self._ending.end_step()
        self._compute = EagerStep(self._source, self.execution.precision)
        why = f"{why}, which was seen after step {seen}"
        self.save()
        if lost:
            raise RunError(
                f"{why}, and {' and '.join(lost[:3])} cannot be taken back: the run is saved as it "
                f"was at step {self.step}; train again with --steps eager"
            )
        self._go_eager(why)

    def _train_auxiliaries(self, result: StepResult, batches: Sequence[Batch]) -> dict[str, float]:
        if not self._auxiliaries or result.estimate is None:
            return {}
        guide = self.state.program.unmoved(self.experiment.guide)
        return self._auxiliaries.take(result.estimate.pairs[0], guide, batches[1], self.step + 1)
