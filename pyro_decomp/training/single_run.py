"""One run in training: its steps, and how they go on where they depart from its programs."""

import copy
import math
import signal
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache, partial
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
from pyro_decomp.divergences.auxiliary import guide_codes, make_optimizer
from pyro_decomp.elbo.nonfinite import blame_gradients, remedy
from pyro_decomp.errors import NonFiniteError, RunError, one_line
from pyro_decomp.seeds import random_state, set_random_state
from pyro_decomp.training import environments
from pyro_decomp.training.callbacks import Callback
from pyro_decomp.training.events import Events
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.interruption import Interrupted, StopRequest
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
from pyro_decomp.training.taking_back import BegunStep

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
        self.auxiliaries = experiment.auxiliaries
        streams = (BATCH_STREAM, AUXILIARY_STREAM) if self.auxiliaries else (BATCH_STREAM,)
        super().__init__([experiment], [state], [seed], streams)
        self.experiment, self.state, self.optimizer = experiment, state, optimizer
        self.auxiliary_optimizers = {
            n: make_optimizer(auxiliary.optimizer, auxiliary.module.parameters())
            for n, auxiliary in self.auxiliaries.items()
        }
        self.folder, self.execution, self.seed = folder, execution, seed
        self.is_resumed = False
        self._began = 0, time.monotonic()
        self._norm = math.nan
        self._gradients: dict[str, Tensor] = {}  # where the optimiser may change them
        self._events = Events(callbacks, self)
        self.is_watched = self._events.listens
        self._source = step_source(experiment, state)
        self._compute = compute
        self._begun: BegunStep | None = None
        self._is_whole = True  # state and history are of the same step
        self._saved_step = 0
        self._saved_rest: tuple[Any, Any] = None, None  # generators, and what Python keeps
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
            ended = self._saved_end(error, path)
            with suppress(Exception):  # which would hide what went wrong before
                self._events.tell("ended")
            if ended is error:
                raise
            raise ended from error
        else:
            self._tell_of_end(path)
        finally:
            self._auditor = self._begun = None
            self._events.release()

    def _tell_of_end(self, path: Path) -> None:
        try:
            self._events.tell("ended")
        except BaseException as error:
            raise self._saved_end(error, path) from error.__cause__

    def _saved_end(self, error: BaseException, path: Path) -> BaseException:
        """Save the last whole step, and give what ended the run with a note of the step saved."""
        if isinstance(error, Interrupted) and error.out is path and error.step == self._saved_step:
            return error
        try:
            if not self._is_whole and not self._take_back():
                raise RunError("the step that failed cannot be taken back")
            self._save()
        except Exception:
            self._back_to_checkpoint()
        if isinstance(error, KeyboardInterrupt):
            return Interrupted(self.step, path, getattr(error, "signal", signal.SIGINT))
        self.folder.keep()
        way = "--resume (resume=True) goes on from it, --force (force=True) begins anew"
        if isinstance(error, NonFiniteError):
            way = "--resume would come to the same again, --force (force=True) begins anew"
        error.add_note(f"step {self.step} is saved in {path}: {way}")
        return error

    def _take_back(self) -> bool:
        """Take back a step that failed before its update; whether that could be done."""
        return self._begun is not None and self._begun.take_back(
            partial(self._python, 0), *self._saved_rest
        )

    def _note_saved(self, checkpoint: Mapping[str, Any]) -> None:
        self._saved_step = int(checkpoint["step"])
        self._saved_rest = checkpoint["random"], copy.deepcopy(checkpoint.get("python"))

    def _back_to_checkpoint(self) -> None:
        """Go back to the last checkpoint; the history of the steps after it is written."""
        with suppress(Exception):
            self.folder.write_history(self.histories[0])
        self.step = self._saved_step
        with suppress(Exception):  # which would hide what went wrong before
            if (checkpoint := self.folder.read_checkpoint()) is not None:
                self.restore(checkpoint)
        self._is_whole = True

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
        trained = dict(self.state.parameters)
        for auxiliary in self.auxiliaries:
            trained |= self._auxiliary_parameters(auxiliary)
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
            {n: o.state_dict() for n, o in self.auxiliary_optimizers.items()},
        )
        checkpoint |= self._events.noted()
        if self.stopped:
            checkpoint |= {"stopped": self.stopped, "stopped_before": self.total_steps}
        self.folder.write_checkpoint(checkpoint, self.histories[0], which)
        if which == "last":
            self._note_saved(checkpoint)

    def begin(self) -> None:
        """Make the first checkpoint, of what there is before any step."""
        self._events.begin({})
        self._save()

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Put everything back as it was when the checkpoint was written."""
        try:
            self.state.load_tensors(dict(checkpoint))
            self.optimizer.load_state_dict(checkpoint["optimizer"])
            for name, optimizer in self.auxiliary_optimizers.items():
                optimizer.load_state_dict(checkpoint["auxiliaries"][name])
            set_random_state(checkpoint["random"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise RunError(
                f"{self.folder.checkpoint_path} does not fit this experiment: {one_line(error)}"
            ) from error
        self.state.load_python(checkpoint.get("python"))
        self.step = int(checkpoint["step"])
        self.histories[0] = self.folder.read_history(self.step, checkpoint["rows"])
        self._sums[0] = dict(checkpoint.get("epoch_sums", {}))
        if checkpoint.get("stopped_before") == self.total_steps:  # else it goes on beyond that end
            self.stopped = checkpoint["stopped"]
        self.is_resumed = self.step > 0
        self._note_saved(checkpoint)
        self._events.begin(checkpoint)
        if not self._optimize.adopt():
            self._separate()

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
        if self._begun is None:
            self._begun = BegunStep(self._source, self.experiment.data.device)
        self._begun.keep()
        self._is_whole = False

    def _end_step(self) -> None:
        self._is_whole = True

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
            result = replace(result, norm=_norm(self._compute.trained))
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
        if self._begun is not None:
            self._begun.forget()
        trained, limit = self._compute.trained, self.experiment.clip_grad_norm
        self._norm = result.norm
        if limit is not None:
            norm = torch.tensor(result.norm, dtype=trained[0].dtype)
            torch.nn.utils.clip_grads_with_norm_(trained, limit, norm)
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
        before = environments.of_config(self.folder.read_config(), self.step)
        by = [environments.followed(before, before[-1] | {"from_step": first, "steps": "eager"})]
        self.folder.write_execution(asdict(self.execution), *(by if before else []))
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
        self._auditor, self._is_whole = None, True
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
        """One step of every auxiliary network, on this batch's codes and an independent batch."""
        losses: dict[str, float] = {}
        if not self.auxiliaries or result.estimate is None:
            return losses
        guide = self.state.program.unmoved(self.experiment.guide)
        codes = cache(partial(guide_codes, guide, *batches[1]))
        of_its = "try a smaller learning rate of its optimiser"
        if self.step == 0:
            of_its = "no step was taken before it, so it is in the network or its codes"
        for name, auxiliary in self.auxiliaries.items():
            optimizer = self.auxiliary_optimizers[name]
            loss = auxiliary.loss(result.estimate.pairs[0], codes)
            losses[f"{name}_loss"] = loss.item()
            if not math.isfinite(losses[f"{name}_loss"]):
                raise NonFiniteError(
                    f"step {self.step + 1}: {name}_loss = {loss.item()} ({of_its})"
                )
            optimizer.zero_grad()
            loss.backward()
            weights = self._auxiliary_parameters(name)
            if not math.isfinite(_norm(weights.values())):
                raise NonFiniteError(blame_gradients(_gradients(weights), of_its, self.step + 1))
            make_update(optimizer)()
        return losses

    def _auxiliary_parameters(self, name: str) -> dict[str, Tensor]:
        weights = self.auxiliaries[name].module.named_parameters()
        return {f"{name}.{n}": weight for n, weight in weights}


def _norm(trained: Iterable[Tensor]) -> float:
    """The norm of the whole gradient."""
    return torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None]).item()


def _gradients(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}
