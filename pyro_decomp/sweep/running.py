"""A grid of runs from beginning to end, resumable at any instant."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from pyro_decomp import arguments
from pyro_decomp.acceleration import check_count
from pyro_decomp.analysis import evaluation
from pyro_decomp.errors import ExperimentError, RunError, intended
from pyro_decomp.sweep import ensemble
from pyro_decomp.sweep.ensemble.item_checkpoint import interrupted
from pyro_decomp.sweep.ensemble.members import Member
from pyro_decomp.sweep.folder import SweepFolder, attempt, describe, read_description
from pyro_decomp.sweep.grid import make_grid
from pyro_decomp.sweep.jobs import Job, Work
from pyro_decomp.sweep.journal import Record, journal, read_journal
from pyro_decomp.sweep.supervisor import (
    Plan,
    Supervisor,
    SweepInterrupted,
    SweepProgress,
    jobs_left,
)
from pyro_decomp.sweep.table import last_terms, read_table
from pyro_decomp.sweep.workers import WorkerPool, run_here
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import stop_requests
from pyro_decomp.training.recorded.kept import KeptTensors
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.run_files.writer import check_free, writer

# Elements of data in all steps of all members: a step of few takes about a millisecond.
LITTLE_WORK, FEWEST_ELEMENTS = 2**22, 2**10


def sweep(
    file: ExperimentFile | str | Path | Callable[..., Experiment],
    values: Mapping[str, Sequence[Any]],
    seeds: int | Sequence[int] = 1,
    *,
    out: str | Path,
    way: str = "auto",
    num_workers: int | None = None,
    device: str = "cpu",
    metrics: Sequence[str] = (),
    resume: bool = False,
    force: bool = False,
    started: Callable[[Plan], None] | None = None,
    report: Callable[[SweepProgress], None] | None = None,
) -> pa.Table:
    """Train an experiment for every combination of values with every seed.

    A member depends on its arguments and its seed alone. One that fails is marked in the table and
    the others go on. Worker processes run the main module of a script again, which therefore calls
    this behind ``if __name__ == "__main__":``.

    Args:
        file: The experiment file, or a function that builds an experiment. Members are built from
            the text of either, which is kept.
        values: Of each parameter of ``experiment`` its values; the others keep their defaults.
        seeds: How many, from 0; or which.
        out: The folder of the sweep.
        way: How members are trained: ``batched``, as one computation where they can be;
            ``processes``, each by itself; ``auto``, whichever is faster.
        num_workers: The most worker processes, each with one thread; by default one for each
            processor that this process may use, and one only for a device other than the CPU. A
            single job, or few steps in all, are done in this process instead.
        device: Where to train.
        metrics: What to measure on each member that finishes, names as of
            :func:`pyro_decomp.evaluate`.
        resume: Go on with the sweep in ``out``, which may get further values, seeds and metrics;
            start it if there is none. Members that are done are not repeated; those that failed
            are tried again, except where a loss was not finite.
        force: Replace the sweep in ``out``.
        started: Called once all is checked, before the first step.
        report: Called now and then.

    Returns:
        The table; see :func:`read_table`.

    Raises:
        ExperimentError: The file or function, a value or a seed cannot be used.
        DataError: A name in ``metrics`` is none.
        RunError: The folder cannot be used as asked, or another process writes there.
        SweepInterrupted: The user stopped it.
    """
    with arguments.raised_as(ExperimentError):
        arguments.annotated(sweep, locals())
        arguments.one_of(("auto", "batched", "processes"), way=way)
        check_count(num_workers=num_workers)
        arguments.device(device=device)
    source = _source(file)
    evaluation.check_names(metrics)
    grid = make_grid(source, values, seeds)
    size = (usable_processors() if device == "cpu" else 1) if num_workers is None else num_workers
    folder = SweepFolder(out)
    description = describe(source, grid, device, metrics)
    check_free(folder.path)
    folder.check(description, resume=resume, force=force)
    members = grid.members()
    with writer(folder.path) as held:
        folder.check(description, resume=resume, force=force)
        for member in members:
            check_free(folder.run_path(member.name))
        for path in filter(intended, folder.items_path.glob("*")):
            path.unlink()
        records, lost = _what_is_known(folder, members) if resume else ({}, [])
        if resume and folder.description_path.exists():
            before = read_description(folder.path).get("metrics", [])
            description["metrics"] = list(dict.fromkeys([*before, *metrics]))
        if source.tensors is not None:
            source.tensors.write(folder.path)
            source = replace(source, tensors=KeptTensors.beside(folder.path))
        work = Work(
            source.source, source.path, folder.path, device, tuple(description["metrics"]),
            source.folders,
        )  # fmt: skip
        new, measure = jobs_left(members, records, work.metrics)
        items = ensemble.plan(
            source, new, way=way, num_workers=size, device=device, out=folder.path
        )
        folder.begin(description, force=force)
        if started is not None:
            num_done = len(members) - len(new) - len(measure)
            started(Plan(grid, num_done, len(measure), items, size))
        queue = deque([*map(Job, items), *measure])
        with (
            attempt(folder.running_path, len(records)) as is_dangerous,
            journal(folder.journal_path, held.check) as lines,
            stop_requests() as stop,
        ):
            for record in lost:
                lines.append(record)
            supervisor = Supervisor(
                queue, members, records, metrics=work.metrics, journal=lines, report=report
            )
            try:
                if not is_dangerous and (size == 1 or is_worth_no_workers(queue, work.metrics)):
                    run_here(work, queue, supervisor, stop)
                WorkerPool(work, size).run(queue, supervisor, stop)
            except KeyboardInterrupt as interruption:
                stop.ask(getattr(interruption, "signal", signal.SIGINT))
            finally:
                held.check()
                table = read_table(folder.path)
                folder.write_tables(table)
    if stop.is_set():
        raise SweepInterrupted(supervisor.num_ended, len(members), folder.path, stop.signal)
    return table


def _source(given: ExperimentFile | str | Path | Callable[..., Experiment]) -> ExperimentFile:
    if isinstance(given, ExperimentFile):
        return given
    if isinstance(given, str | Path):
        return ExperimentFile.read(given, seed=0)
    return ExperimentFile.of_function(given)


def _what_is_known(
    folder: SweepFolder, members: Sequence[Member]
) -> tuple[dict[str, Record], list[Record]]:
    """The record of each member that has one, and which of these the journal lacks."""
    records = read_journal(folder.journal_path)
    lost = recovered(folder, [member for member in members if member.name not in records])
    return records | {record.member: record for record in lost}, lost


def is_worth_no_workers(queue: Sequence[Job], metrics: Sequence[str]) -> bool:
    """Whether work is too little to be worth worker processes, which take seconds to start.

    One job is, and several that only train, for few steps on few data. What is not known counts as
    much, and so does measuring.
    """
    items = [job.item for job in queue]
    is_known = not metrics and all(item.steps and item.elements for item in items)
    work = sum(
        len(item.members) * item.steps * max(item.elements, FEWEST_ELEMENTS) for item in items
    )
    return len(queue) <= 1 or (is_known and work <= LITTLE_WORK)


def usable_processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def recovered(folder: SweepFolder, members: Iterable[Member]) -> list[Record]:
    """Records of members that were trained to the end just before a sweep was killed.

    They are told by their run folders; how long they took is not known. Members of items that were
    interrupted are left to these, which go on with all of their members from what they saved.
    """
    found = []
    in_items = {name for item in interrupted(folder.path) for name in item.members}
    for member in members:
        if member.name in in_items:
            continue
        run = RunFolder(folder.run_path(member.name))
        try:
            total = run.read_config()["total_steps"]
            terms, step = last_terms(run.path)
            checkpoint = run.read_checkpoint() if step == total else None
        except RunError:
            continue  # there is none, or it is trained again
        if checkpoint is not None and checkpoint["step"] == total:
            found.append(Record(member.name, "finished", "", total, None, _way(run), terms))
    return found


def _way(run: RunFolder) -> str:
    config = run.read_config()
    return "batched" if config.get("batched", config.get("together")) else "single"
