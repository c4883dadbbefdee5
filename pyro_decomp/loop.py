"""One run in progress: steps, checks, checkpoints and history."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import repeat
from threading import Event
from typing import Any

import torch
from torch import Tensor

from pyro_decomp.auxiliary import guide_codes
from pyro_decomp.data.batches import Batch, Data
from pyro_decomp.elbo import Estimate
from pyro_decomp.errors import NonFiniteError, RunError
from pyro_decomp.experiment import Experiment
from pyro_decomp.interruption import Interrupted
from pyro_decomp.optimizers import Update
from pyro_decomp.run_folder import History, RunFolder
from pyro_decomp.seeds import derive, random_state, set_random_state
from pyro_decomp.state import State
from pyro_decomp.steps import EagerStep, GraphStep

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
    ) -> None:
        self.experiment = experiment
        self.state = state
        self.optimizer = optimizer
        self.auxiliaries = experiment.auxiliaries
        self.auxiliary_optimizers = {
            n: auxiliary.optimizer(auxiliary.module.parameters())
            for n, auxiliary in self.auxiliaries.items()
        }
        self.folder = folder
        self.seed = seed
        self.compute = compute
        self._update = Update(optimizer)
        self.step = 0
        self.history: History = {}
        self._log_every = -(-experiment.total_steps // MAX_HISTORY_ROWS)
        self._saved_at = time.monotonic()
        self._save_cost = 0.0

    def save(self) -> None:
        """Write history and checkpoint.

        Raises:
            NonFiniteError: A parameter became infinite or not a number; nothing is written.
        """
        start = time.monotonic()
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
            "rows": len(self.history.get("step", ())),
            "optimizer": self.optimizer.state_dict(),
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
            self.optimizer.load_state_dict(checkpoint["optimizer"])
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

    def run(self, report: Callable[[Progress], None], stop: Event) -> None:
        """Train to the end, or until a stop is asked for.

        Raises:
            Interrupted: It was; all that was done is saved.
        """
        total, per_epoch = self.experiment.total_steps, self.experiment.steps_per_epoch
        first, start = self.step, time.monotonic()
        if first == total:
            return
        stream = partial(batches, self.experiment, self.seed, step=self.step)
        others = stream(AUXILIARY_STREAM) if self.auxiliaries else repeat(None)
        for batch, other in zip(stream(BATCH_STREAM), others, strict=False):
            values = self._take_step(batch, other)
            self.step += 1
            epoch = (self.step - 1) // per_epoch + 1
            if self.step % self._log_every == 0 or self.step in (1, total):
                self._log({"step": self.step, "epoch": epoch, **values})
                rate = (self.step - first) / (time.monotonic() - start)
                left = (total - self.step) / rate
                report(Progress(self.step, total, epoch, values, rate, left))
            if stop.is_set():
                self.save()
                raise Interrupted(self.step, self.folder.path)
            if self.step == total or self._checkpoint_is_due():
                self.save()

    def _checkpoint_is_due(self) -> bool:
        return time.monotonic() - self._saved_at > max(1.0, CHECKPOINT_SHARE * self._save_cost)

    def _take_step(self, batch: Batch, other: Batch | None) -> dict[str, float]:
        weights = self.experiment.apply_schedules(self.step + 1)
        result = self.compute(batch, self.step + 1)
        self._check_gradients(self.compute.trained, self.compute.gradients, norm=result.norm)
        self._update()
        losses = {}
        if other is not None and result.estimate is not None:
            losses = self._train_auxiliaries(result.estimate, other)
        return result.values | weights | losses

    def _train_auxiliaries(self, estimate: Estimate, other: Batch) -> dict[str, float]:
        """One step of every auxiliary network, on this batch's codes and an independent batch."""
        losses = {}
        guide = self.state.program.unmoved(self.experiment.guide)
        codes = cache(partial(guide_codes, guide, *other))
        for name, auxiliary in self.auxiliaries.items():
            optimizer = self.auxiliary_optimizers[name]
            loss = auxiliary.loss(estimate.pairs[0], codes)
            losses[f"{name}_loss"] = loss.item()
            if not math.isfinite(losses[f"{name}_loss"]):
                raise NonFiniteError(
                    f"step {self.step + 1}: {name}_loss = {loss.item()}; the last checkpoint is "
                    "kept (try a smaller learning rate of its optimiser)"
                )
            optimizer.zero_grad()
            loss.backward()
            weights = self._auxiliary_parameters(name)
            self._check_gradients(
                list(weights.values()), partial(_gradients, weights), is_clipped=False
            )
            optimizer.step()
        return losses

    def _auxiliary_parameters(self, name: str) -> dict[str, Tensor]:
        weights = self.auxiliaries[name].module.named_parameters()
        return {f"{name}.{n}": weight for n, weight in weights}

    def _check_gradients(
        self,
        trained: list[Tensor],
        by_name: Callable[[], Mapping[str, Tensor]],
        *,
        is_clipped: bool = True,
        norm: float | None = None,
    ) -> None:
        if norm is None:
            found = [p.grad for p in trained if p.grad is not None]
            norm = torch.nn.utils.get_total_norm(found).item()
        if not math.isfinite(norm):
            culprits = [n for n, g in by_name().items() if not bool(g.isfinite().all())]
            raise NonFiniteError(
                f"step {self.step + 1}: the gradient of {', '.join(culprits) or 'the parameters'} "
                "is not finite; the last checkpoint is kept (try a smaller learning rate, or "
                "clip_grad_norm)"
            )
        limit = self.experiment.clip_grad_norm
        if is_clipped and limit is not None:
            torch.nn.utils.clip_grads_with_norm_(
                trained, limit, torch.tensor(norm, dtype=trained[0].dtype)
            )

    def _log(self, row: dict[str, float]) -> None:
        rows = len(self.history.get("step", ()))
        for name in [name for name in row if name not in self.history]:
            self.history[name] = [math.nan] * rows
        for name, column in self.history.items():
            column.append(row.get(name, math.nan))


def batches(experiment: Experiment, seed: int, stream: int, step: int = 0) -> Iterator[Batch]:
    """The batches after a step; a permutation is a function of seed, stream and epoch."""
    data, per_epoch = Data.of(experiment.data), experiment.steps_per_epoch
    size = experiment.batch_size or len(data)
    if per_epoch == 1:
        yield from repeat(data[:], experiment.epochs - step)
        return
    for epoch in range(step // per_epoch, experiment.epochs):
        first = step % per_epoch if epoch == step // per_epoch else 0
        yield from data.shuffled(size, seed=derive(seed, stream, epoch), first=first)


def _gradients(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: p.grad for name, p in parameters.items() if p.grad is not None}
