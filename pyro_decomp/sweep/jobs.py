"""What a worker does: train an item, measure its members, and tell what became of each."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from pyro_decomp.errors import DiskError, writing
from pyro_decomp.sweep.ensemble.members import Outcome, WorkItem
from pyro_decomp.sweep.journal import Record
from pyro_decomp.sweep.table import flat, last_terms
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.recorded.kept import KeptTensors
from pyro_decomp.training.user_code import sentence

# torch takes seconds to import, and who only waits for workers may do without
# ruff: noqa: PLC0415

TELLING_INTERVAL = 0.1  # seconds


@dataclass(frozen=True)
class Job:
    """One job of a worker: an item to train and to measure.

    Args:
        item: The item.
        trained: The record of its only member if that was trained before and is to be measured
            only.
        is_second_try: Whether its members have been tried before.
    """

    item: WorkItem
    trained: Record | None = None
    is_second_try: bool = False


@dataclass(frozen=True)
class Advance:
    """How far the training of an item is."""

    step: int
    total_steps: int

    @property
    def fraction(self) -> float:
        """The part of the training that is done, from 0 to 1."""
        return self.step / max(self.total_steps, 1)


Tell = Callable[[Advance | Record], None]


@dataclass(frozen=True)
class Work:
    """Does the jobs of one sweep, and holds what they share; it can be pickled.

    Args:
        source: The text of the experiment file or function.
        path: Where it is from.
        out: The folder of the sweep.
        device: Where to train and to measure.
        metrics: What to measure, names as of :func:`pyro_decomp.evaluate`.
        folders: What the text imports from, beside the folder of the path.
    """

    source: str
    path: Path
    out: Path
    device: str
    metrics: tuple[str, ...]
    folders: tuple[Path, ...] = ()

    def __call__(self, job: Job, tell: Tell) -> None:
        """Do a job.

        Raises:
            Interrupted: The user stopped it.
            DiskError: The folder of the sweep cannot be written, which no job could do better.
        """
        with writing(self.out):
            records = [job.trained] if job.trained is not None else self._train(job.item, tell)
            for record in records:
                if record.status == "finished" and self.metrics:
                    tell(self._measured(record))

    def _train(self, item: WorkItem, tell: Tell) -> list[Record]:
        from pyro_decomp.sweep.ensemble import train_item

        due = 0.0

        def report(step: int, total_steps: int) -> None:
            nonlocal due
            if time.monotonic() >= due or step >= total_steps:
                due = time.monotonic() + TELLING_INTERVAL
                tell(Advance(step, total_steps))

        file = _file(self.source, self.path, self.folders, KeptTensors.beside(self.out))
        outcomes = train_item(file, item, self.out, device=self.device, report=report)
        records = [self._record(outcome) for outcome in outcomes]
        for record in records:  # all before any is measured: what is trained is not trained again
            tell(record)
        return records

    def _record(self, outcome: Outcome) -> Record:
        terms: Mapping[str, float | None] = {}
        if outcome.status == "finished":
            terms, _ = last_terms(self.out / "members" / outcome.name)
        way = "batched" if outcome.is_batched else "single"
        return Record(
            outcome.name, outcome.status, outcome.message, outcome.step, outcome.seconds, way, terms
        )

    def _measured(self, record: Record) -> Record:
        """The record of a member with its metrics, or with why they could not be measured."""
        from pyro_decomp.analysis import evaluation
        from pyro_decomp.training.run import load

        try:
            run = load(self.out / "members" / record.member, device=self.device)
            metrics = evaluation.evaluate(run, only=self.metrics)
            with writing(run.path):
                evaluation.write_metrics(run, metrics)
        except (Interrupted, DiskError):
            raise
        except Exception as error:
            return replace(record, message=f"not measured: {sentence(error)}")
        reasons = {name: why for part in metrics.values() for name, why in part["left_out"].items()}
        missing = [f"{name}: {why}" for name, why in reasons.items() if name in self.metrics]
        message = f"not measured: {'; '.join(missing)}" if missing else ""
        return replace(record, message=message, metrics=flat(metrics), asked=self.metrics)


@cache
def _file(
    source: str, path: Path, folders: tuple[Path, ...], tensors: KeptTensors | None
) -> ExperimentFile:
    """The experiment file or the text of a function, run once in a process."""
    return ExperimentFile.from_source(source, path, seed=0, tensors=tensors, folders=folders)
