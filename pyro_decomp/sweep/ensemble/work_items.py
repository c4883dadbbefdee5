"""The training of one item of work."""

import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from pyro_decomp.acceleration import (
    CaptureError,
    Execution,
    FusionError,
    peak_memory,
    process_settings,
)
from pyro_decomp.errors import one_line
from pyro_decomp.sweep.ensemble.batched import BatchedRuns, Report
from pyro_decomp.sweep.ensemble.item_checkpoint import ItemCheckpoint
from pyro_decomp.sweep.ensemble.member_run import MemberRun, own_numbers
from pyro_decomp.sweep.ensemble.members import Member, Outcome, WorkItem
from pyro_decomp.sweep.ensemble.single import train_single
from pyro_decomp.training import environments
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.interruption import stop_requests
from pyro_decomp.training.loop import ExecutionWarning
from pyro_decomp.training.recorded.kept import KeptTensors
from pyro_decomp.training.run_files.run_folder import RunFolder
from pyro_decomp.training.user_code import sentence


def train_item(
    source: ExperimentFile, item: WorkItem, out: Path, *, device: str, report: Report
) -> list[Outcome]:
    """Train the members of an item, each into its run folder ``out/members/NAME``.

    A member of a batch whose step turns out to be another computation graph than the others', or
    not what its programs compute, is trained as a single run from its beginning; its
    ``config.json`` says why, under ``execution``.

    Args:
        source: The experiment file.
        item: What to train.
        out: The folder of the sweep.
        device: Where.
        report: Called now and then with the steps done, of all members, and the steps in all.

    Raises:
        Interrupted: The user stopped it; what was done is kept in ``out``.
    """
    if not item.is_batched:
        return [_single(source, member, out, device, report) for member in item.members]
    began = time.monotonic()
    runs, outcomes = [], []
    for member in item.members:
        try:
            runs.append(MemberRun.of(source, member, device))
        except Exception as error:
            outcomes.append(Outcome(member.name, "failed", 0, 0.0, sentence(error)))
    numbers = list(dict.fromkeys([*item.numbers, *own_numbers(runs)]))
    alike, apart, graph = _of_one_graph(runs, numbers)
    file, batch = ItemCheckpoint(out, item), None
    make = partial(BatchedRuns, numbers=numbers, graph=graph, file=file, report=report)
    try:
        batch = _verified(make, alike, item.backend, apart)
    except CaptureError as error:
        apart |= {run.member.name: one_line(error) for run in alike}
    if batch is not None:
        file.begin()
        _train(batch, file)
        apart |= _departed(batch)
        seconds = (time.monotonic() - began) / len(batch.runs)
        indices = [index for index in range(len(batch.runs)) if index not in batch.departed]
        outcomes += [_kept(batch, index, out, seconds) for index in indices]
    outcomes += [
        _single(source, member, out, device, report, why=apart[member.name])
        for member in item.members
        if member.name in apart
    ]
    file.remove()
    return outcomes


def _verified(
    make: Callable[..., BatchedRuns],
    runs: Sequence[MemberRun],
    backend: str,
    apart: dict[str, str],
) -> BatchedRuns | None:
    """A batch of the members whose first step is what their programs compute.

    Returns:
        None if there is no such member.
    """
    if not runs:
        return None
    try:
        batch = make(runs, backend=backend)
    except FusionError:
        batch = make(runs)
    batch.verify_first()
    if not batch.departed:
        return batch
    apart |= _departed(batch)
    left = [batch.runs[index] for index in batch.left]
    return make(left, backend=batch.backend) if left else None


def _departed(batch: BatchedRuns) -> dict[str, str]:
    """Names of members that are not what their programs compute, and how that was seen."""
    return {batch.runs[index].member.name: why for index, why in batch.departed.items()}


def _single(
    source: ExperimentFile, member: Member, out: Path, device: str, report: Report, *, why: str = ""
) -> Outcome:
    folder = out / "members" / member.name
    return train_single(source, member, folder, device=device, report=report, why=why)


def _of_one_graph(
    runs: Sequence[MemberRun], numbers: Sequence[str]
) -> tuple[list[MemberRun], dict[str, str], Hashable]:
    """The most members whose steps are one computation graph, why others' are not; which it is."""
    by_key: dict[Hashable, list[MemberRun]] = defaultdict(list)
    apart: dict[str, str] = {}
    for run in runs:
        if why := run.why_single():
            apart[run.member.name] = why
            continue
        try:
            by_key[run.outline(), run.graph_hash(numbers).digest].append(run)
        except Exception as error:  # it is told of when the member is trained
            apart[run.member.name] = one_line(error)
    key = max(by_key, key=lambda key: len(by_key[key]), default=None)
    largest = by_key.pop(key, [])
    rest = [run.member.name for found in by_key.values() for run in found]
    others = "it does not have the same computation graph as the others"
    return largest, apart | dict.fromkeys(rest, others), key


def _train(batch: BatchedRuns, file: ItemCheckpoint) -> None:
    state = file.read()
    if state is not None and batch.is_mine(state):
        batch.load_state_dict(state)
    first = batch.runs[0]
    device, before = next(iter(first.state.parameters.values())).device, batch.environments
    now = environments.environment(_execution(batch), device, batch.step + 1)
    batch.environments = environments.followed(before, now)
    asked = partial(environments.sums_pairs, first.step_source)
    if why := environments.departure(before, now, asked):
        them = f"{first.member.name} and those that train with it: "
        warnings.warn(them + why, ExecutionWarning, stacklevel=2)
    with stop_requests() as stop, process_settings(1):
        batch.run(stop, Path())


def _execution(batch: BatchedRuns) -> Execution:
    """How the steps of each member are computed."""
    why = f"one of {len(batch.runs)} at once"
    return Execution(batch.backend, "float32", "contiguous", 1, why)


def _kept(batch: BatchedRuns, index: int, out: Path, seconds: float) -> Outcome:
    """Write a member's run folder."""
    run = batch.runs[index]
    folder = RunFolder(out / "members" / run.member.name)
    checkpoint = batch.checkpoint(index)
    config = run.config | {"execution": asdict(_execution(batch)), "batched": True}
    config["environments"] = batch.environments
    with ExitStack() as held:
        folder.open_new(config, force=True, held=held)
        if (tensors := KeptTensors.beside(out)) is not None:
            tensors.write(folder.path)
        folder.write_checkpoint(checkpoint, batch.histories[index])
        done = {"steps": checkpoint["step"], "seconds": seconds}
        folder.write_resources(done | {"peak_resident_bytes": peak_memory()})
    why = batch.set_aside.get(index)
    status = "finished" if why is None else "not finite"
    message = "" if why is None else why[0]
    return Outcome(run.member.name, status, checkpoint["step"], seconds, message, is_batched=True)
