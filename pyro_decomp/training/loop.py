"""One run in progress: steps, checks, checkpoints and history."""

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import repeat
from threading import Event
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.acceleration.joined_optimizer import JoinedUpdate, split_state
from pyro_decomp.acceleration.optimizers import Update
from pyro_decomp.acceleration.steps import Departed, EagerStep, Execution, GoEager, GraphStep
from pyro_decomp.acceleration.steps.auditor import Auditor
from pyro_decomp.acceleration.steps.moment import copied
from pyro_decomp.acceleration.steps.result import StepResult
from pyro_decomp.data.batches import Batch
from pyro_decomp.divergences.auxiliary import guide_codes, make_optimizer
from pyro_decomp.elbo import Estimate
from pyro_decomp.elbo.nonfinite import blame_gradients, remedy
from pyro_decomp.errors import DataError, ModelError, NonFiniteError, RunError
from pyro_decomp.seeds import derive, random_state, set_random_state
from pyro_decomp.training.data_support import Unseen
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.run_folder import History, RunFolder
from pyro_decomp.training.state import State, step_source

BATCH_STREAM, AUXILIARY_STREAM = 2, 3
MAX_HISTORY_ROWS = 10_000
CHECKPOINT_SHARE = 50  # a checkpoint is written when this many times its cost has gone by


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: Steps done.
        total_steps: Steps of the whole run.
        epoch: The epoch that the step was in, from 1.
        values: ``objective``, ``elbo`` and every term, in nats per datum; then what schedules set,
            and the losses of auxiliary networks.
        steps_per_second: Since this call of :func:`train` began.
        seconds_left: At that rate.
    """

    step: int
    total_steps: int
    epoch: int
    values: Mapping[str, float]
    steps_per_second: float
    seconds_left: float


class Loop:
    """Everything that a checkpoint holds, and the steps that change it."""

    def __init__(
        self,
        experiment: Experiment,
        state: State,
        optimizer: torch.optim.Optimizer,
        folder: RunFolder,
        *,
        seed: int,
        compute: EagerStep | GraphStep,
        execution: Execution | None = None,
        report: Callable[[Progress], None] | None = None,
    ) -> None:
        self.experiment = experiment
        self.state = state
        self._source = step_source(experiment, state)
        self.optimizer = optimizer
        self.auxiliaries = experiment.auxiliaries
        self.auxiliary_optimizers = {
            n: make_optimizer(auxiliary.optimizer, auxiliary.module.parameters())
            for n, auxiliary in self.auxiliaries.items()
        }
        self.folder = folder
        self.seed = seed
        self.compute = compute
        self.execution = execution or Execution("eager", "float32")
        self._report = report
        self._auditor: Auditor | None = None
        if isinstance(compute, GraphStep):
            self._auditor = Auditor(
                self._source,
                optimizer,
                compute,
                precision=self.execution.precision,
                between=None if _is_own(report) else report,
            )
        self._update = self._update_of_step()
        self._unseen = Unseen(experiment, state.modules, seed, BATCH_STREAM, AUXILIARY_STREAM)
        self.step = 0
        self.history: History = {}
        self._log_every = -(-experiment.total_steps // MAX_HISTORY_ROWS)
        self._saved_at = time.monotonic()
        self._save_cost = 0.0

    def save(self) -> None:
        """Write history and checkpoint.

        Raises:
            NonFiniteError: A parameter became infinite or not a number; nothing is written.
            Departed: The programs keep other things in Python than the steps know of; nothing is
                written.
        """
        start = time.monotonic()
        if self._auditor is not None:
            self._auditor.check(self.step)
        trained = dict(self.state.parameters)
        for name in self.auxiliaries:
            trained |= self._auxiliary_parameters(name)
        culprits = [n for n, p in trained.items() if not bool(p.isfinite().all())]
        if culprits:
            raise NonFiniteError(
                f"step {self.step}: {', '.join(culprits)} is not finite; the last checkpoint is "
                "kept (try a smaller learning rate)"
            )
        with self.experiment.at_first_step():  # what schedules set is theirs to set again
            python = self.state.python()
        checkpoint = {
            "step": self.step,
            "rows": self._num_rows,
            "optimizer": copied(self.optimizer.state_dict()),
            "auxiliaries": {n: o.state_dict() for n, o in self.auxiliary_optimizers.items()},
            "random": random_state(),
            "python": python,
            **self.state.tensors(),
        }
        self.folder.write_checkpoint(checkpoint, self.history)
        self._saved_at = time.monotonic()
        self._save_cost = self._saved_at - start

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Put everything back as it was when the checkpoint was written."""
        try:
            self.state.load_tensors(dict(checkpoint))
            self.optimizer.load_state_dict(self._by_parameter(checkpoint["optimizer"]))
            for name, optimizer in self.auxiliary_optimizers.items():
                optimizer.load_state_dict(checkpoint["auxiliaries"][name])
            set_random_state(checkpoint["random"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise RunError(
                f"{self.folder.checkpoint_path} does not fit this experiment: {error}"
            ) from error
        self.state.load_python(checkpoint.get("python"))
        self.step = int(checkpoint["step"])
        self.history = self.folder.read_history(self.step, checkpoint["rows"])
        if isinstance(self._update, JoinedUpdate) and not self._update.adopt():
            self._separate()

    def _by_parameter(self, kept: dict[str, Any]) -> dict[str, Any]:
        """An optimiser's state by parameter; fused runs once kept that of one vector."""
        parameters = list(self.state.parameters.values())
        counts = [len(group["params"]) for group in kept["param_groups"]]
        own = [len(group["params"]) for group in self.optimizer.param_groups]
        return split_state(kept, parameters) if counts == [1] and own[0] > 1 else kept

    def run(self, stop: Event) -> None:
        """Train to the end, or until a stop is asked for.

        Raises:
            Interrupted: It was; all that was done is saved.
            RunError: Steps departed from the programs, and what these keep in Python cannot be
                taken back.
        """
        if self._auditor is not None:
            self._auditor.begin(self.step, self._num_rows)
        while self.step < self.experiment.total_steps:
            if stop.is_set():
                raise Interrupted(self.step, self.folder.path)
            try:
                self._go_on(stop)
            except GoEager as change:
                self._go_eager(str(change))
            except Departed as departure:
                self._go_back(str(departure))

    def _go_on(self, stop: Event) -> None:
        """Take steps until the last."""
        total, per_epoch = self.experiment.total_steps, self.experiment.steps_per_epoch
        first, start = self.step, time.monotonic()
        stream = partial(batches, self.experiment, self.seed, step=self.step)
        others = stream(AUXILIARY_STREAM) if self.auxiliaries else repeat(None)
        for batch, other in zip(stream(BATCH_STREAM), others, strict=False):
            self._check_unseen(batch, other)
            values = self._take_step(batch, other)
            self.step += 1
            epoch = (self.step - 1) // per_epoch + 1
            if self.step % self._log_every == 0 or self.step in (1, total):
                self._log({"step": self.step, "epoch": epoch, **values})
                rate = (self.step - first) / (time.monotonic() - start)
                left = (total - self.step) / rate
                if self._report is not None:
                    self._report(Progress(self.step, total, epoch, values, rate, left))
            if stop.is_set():
                self.save()
                raise Interrupted(self.step, self.folder.path)
            if self.step == total or self._checkpoint_is_due():
                self.save()

    def _check_unseen(self, batch: Batch, other: Batch | None) -> None:
        """Check data that are trained on for the first time.

        Raises:
            ModelError, DataError: They cannot be; the run is saved as it is before this step.
        """
        try:
            self._unseen.check(self.step, batch, other)
        except (ModelError, DataError):
            self.save()
            raise

    def _checkpoint_is_due(self) -> bool:
        return time.monotonic() - self._saved_at > max(1.0, CHECKPOINT_SHARE * self._save_cost)

    def _take_step(self, batch: Batch, other: Batch | None) -> dict[str, float]:
        weights = self.experiment.apply_schedules(self.step + 1)
        if isinstance(self._update, JoinedUpdate) and not self._update.may_go_on():
            self._separate()
        result = self._computed(batch)
        if isinstance(self._update, JoinedUpdate) and self.compute.vector is None:
            self._separate()
        norm, trained = result.norm, self.compute.trained
        if norm is None:
            norm = _norm(trained)
        if not math.isfinite(norm):
            self._blame_gradients(result, batch)
        self._clip(trained, norm)
        self._update()
        losses = {}
        if other is not None and result.estimate is not None:
            losses = self._train_auxiliaries(result.estimate, other)
        return result.values | weights | losses

    def _computed(self, batch: Batch) -> StepResult:
        """Values and gradients of the next step, held against the programs where that is due."""
        auditor, step = self._auditor, self.step + 1
        if auditor is None:
            return self.compute(batch, step)
        pending = auditor.before(batch, step, self._num_rows)
        result = self.compute(batch, step)
        if pending is not None:
            auditor.after(pending, result, step)
        return result

    def _update_of_step(self) -> Update | JoinedUpdate:
        vector = self.compute.vector
        return Update(self.optimizer) if vector is None else JoinedUpdate(self.optimizer, vector)

    def _separate(self) -> None:
        """Let the optimiser take its steps parameter by parameter from now on."""
        if isinstance(self._update, JoinedUpdate):
            self._update.leave()
        self.compute.separate()
        self._update = Update(self.optimizer)

    def _go_eager(self, why: str) -> None:
        """Run the programs from the next step on, and say so."""
        self._separate()
        self._auditor = None
        self.compute = EagerStep(self._source, self.execution.precision)
        self.execution = self.execution.going_eager(self.step + 1, why)
        self.folder.write_execution(asdict(self.execution))
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
        self.history = {name: column[: moment.rows] for name, column in self.history.items()}
        self._update = Update(self.optimizer)  # what the vector's kept is no longer right
        self._auditor = None
        self.compute = EagerStep(self._source, self.execution.precision)
        why = f"{why}, which was seen after step {seen}"
        self.save()
        if lost:
            raise RunError(
                f"{why}, and {' and '.join(lost[:3])} cannot be taken back: the run is saved as it "
                f"was at step {self.step}; train again with --steps eager"
            )
        self._go_eager(why)

    @property
    def _num_rows(self) -> int:
        return len(self.history.get("step", ()))

    def _train_auxiliaries(self, estimate: Estimate, other: Batch) -> dict[str, float]:
        """One step of every auxiliary network, on this batch's codes and an independent batch."""
        losses = {}
        guide = self.state.program.unmoved(self.experiment.guide)
        codes = cache(partial(guide_codes, guide, *other))
        of_its = "try a smaller learning rate of its optimiser"
        if self.step == 0:
            of_its = "no step was taken before it, so it is in the network or its codes"
        for name, auxiliary in self.auxiliaries.items():
            optimizer = self.auxiliary_optimizers[name]
            loss = auxiliary.loss(estimate.pairs[0], codes)
            losses[f"{name}_loss"] = loss.item()
            if not math.isfinite(losses[f"{name}_loss"]):
                raise NonFiniteError(
                    f"step {self.step + 1}: {name}_loss = {loss.item()}; the last checkpoint is "
                    f"kept ({of_its})"
                )
            optimizer.zero_grad()
            loss.backward()
            weights = self._auxiliary_parameters(name)
            if not math.isfinite(_norm(weights.values())):
                raise NonFiniteError(blame_gradients(_gradients(weights), of_its, self.step + 1))
            optimizer.step()
        return losses

    def _auxiliary_parameters(self, name: str) -> dict[str, Tensor]:
        weights = self.auxiliaries[name].module.named_parameters()
        return {f"{name}.{n}": weight for n, weight in weights}

    def _blame_gradients(self, result: StepResult, batch: Batch) -> None:
        """Say which gradients are not finite, and what may help.

        Raises:
            NonFiniteError: Always; it may be the objective's, if the programs now say so.
        """
        step, estimate = self.step + 1, result.estimate
        if estimate is None:
            programs = EagerStep(self._source, self.execution.precision)
            estimate, _ = programs.estimate(batch, step)
        hint = remedy(estimate, batch, step)
        hint += ", or clip_grad_norm" if "learning rate" in hint else ""
        raise NonFiniteError(blame_gradients(self.compute.gradients(), hint, step))

    def _clip(self, trained: list[Tensor], norm: float) -> None:
        limit = self.experiment.clip_grad_norm
        if limit is not None:
            torch.nn.utils.clip_grads_with_norm_(
                trained, limit, torch.tensor(norm, dtype=trained[0].dtype)
            )

    def _log(self, row: dict[str, float]) -> None:
        rows = self._num_rows
        for name in [name for name in row if name not in self.history]:
            self.history[name] = [math.nan] * rows
        for name, column in self.history.items():
            column.append(row.get(name, math.nan))


class ExecutionWarning(UserWarning):
    """The steps of a run are computed otherwise than they were to be."""


def batches(experiment: Experiment, seed: int, stream: int, step: int = 0) -> Iterator[Batch]:
    """The batches after a step; a permutation is a function of seed, stream and epoch."""
    data, per_epoch = experiment.data, experiment.steps_per_epoch
    size = experiment.batch_size or len(data)
    if per_epoch == 1:
        yield from repeat(data[:], experiment.epochs - step)
        return
    for epoch in range(step // per_epoch, experiment.epochs):
        first = step % per_epoch if epoch == step // per_epoch else 0
        yield from data.shuffled(size, seed=derive(seed, stream, epoch), first=first)


def _norm(trained: Iterable[Tensor]) -> float:
    """Of the whole gradient."""
    return torch.nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None]).item()


def _gradients(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}


def _is_own(report: Callable[[Progress], None] | None) -> bool:
    """Whether what is called between steps is the package's own display, or nothing."""
    return (getattr(report, "__module__", None) or "").startswith("pyro_decomp.")
