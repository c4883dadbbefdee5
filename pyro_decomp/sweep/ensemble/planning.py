"""Which members train as one computation, and which by themselves."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pyro_decomp.acceleration import FusionError, GraphHash, unavailable_reason
from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.errors import one_line
from pyro_decomp.sweep.ensemble.batched import BatchedRuns
from pyro_decomp.sweep.ensemble.item_checkpoint import interrupted
from pyro_decomp.sweep.ensemble.member_run import MemberRun, own_numbers
from pyro_decomp.sweep.ensemble.members import Member, WorkItem
from pyro_decomp.training.experiment_file import ExperimentFile

# Of the largest result of an operation: more members at once, and results leave the cache.
ELEMENTS = 330_000
MOST_MEMBERS, FEWEST_MEMBERS = 256, 4
# Seconds on the 2-core machine that docs/speed.md tells of. Only their ratios matter.
SAVED_BY_FUSING = 7e-6  # an operation, member and step
FUSING = 1.0, 5e-3  # once a process, and an operation
SAVED_BY_COMPILING = 3e-6
COMPILING = 5.0, 40e-3
BY_PROGRAMS = 20e-6  # an operation and step of a member alone
LITTLE_WORK = 8.0  # in all: what trains sooner than processes start, and take a step down

ASKED = "as was asked for"
BY_SEED = "what the programs compute differs by seed: a constant drawn at random can be a buffer"


def plan(
    source: ExperimentFile,
    members: Sequence[Member],
    *,
    way: str = "auto",
    num_workers: int = 1,
    device: str = "cpu",
    out: Path | None = None,
) -> list[WorkItem]:
    """Divide members into items of work.

    Members train together whose steps have the same computation graph but for their parameters,
    numbers of the objective, data and draws; see :class:`.GraphHash`. An item has as many of them
    as keep within a processor's cache.

    Args:
        source: The experiment file.
        members: Whom to train.
        way: "batched" trains together all that can be, "processes" none; "auto" all that gain by
            it, which convolutional networks on a processor do not.
        num_workers: Processes that there will be.
        device: Where members are trained.
        out: The folder of the sweep, whose interrupted items are taken up again as they were.

    Returns:
        Items, those that take longest first.
    """
    if way == "processes":
        return [WorkItem((member,), is_batched=False, why=ASKED) for member in members]
    begun = interrupted(out) if out is not None else []
    items, by_name = [], {member.name: member for member in members}
    for names in begun:
        if all(name in by_name for name in names.members):
            again = tuple(by_name.pop(name) for name in names.members)
            items.append(
                WorkItem(
                    again,
                    is_batched=True,
                    why=names.why,
                    backend=names.backend,
                    numbers=tuple(names.numbers),
                )
            )
    groups = list(_groups(source, list(by_name.values()), device))
    for group in sorted(groups, key=_cost, reverse=True):
        items += _divided(group, way, max(1, num_workers // len(groups)), device)
    return items


@dataclass(frozen=True)
class _Group:
    """Members with one computation graph, or that must train alone."""

    members: list[Member]
    total_steps: int
    graph_hash: GraphHash | None
    why_single: str = ""
    numbers: tuple[str, ...] = ()
    run: MemberRun | None = None
    elements: int = 0  # of the data of one step of one member

    @property
    def num_operations(self) -> int:
        """The operations of a step and of its gradient, which has about as many as the step."""
        return 2 * self.graph_hash.num_operations if self.graph_hash else 0


def _cost(group: _Group) -> float:
    """What a member of a group costs, in operations; one that trains alone costs most."""
    return math.inf if group.graph_hash is None else group.graph_hash.num_operations


def _groups(source: ExperimentFile, members: list[Member], device: str) -> Iterator[_Group]:
    by_outline: dict[Any, list[tuple[MemberRun, list[Member]]]] = defaultdict(list)
    for same in _by_arguments(members):
        try:
            run = MemberRun.of(source, same[0], device)
        except Exception:  # it is told of when the member is trained
            yield _Group(same, 0, None, "it fails")
            continue
        by_outline[run.outline()].append((run, same))
    for found in by_outline.values():
        weights = own_numbers([run for run, _ in found])
        by_digest: dict[str, _Group] = {}
        for run, same in found:
            steps = run.experiment.total_steps
            elements = run.experiment.data_per_step * run.experiment.data.datum_size
            if reason := run.why_single():
                yield _Group(same, steps, None, reason, elements=elements)
                continue
            try:
                graph_hash = run.graph_hash(weights)
            except Exception as error:  # whatever it is, alone it may do
                why = f"it cannot be captured: {one_line(error)}"
                yield _Group(same, steps, None, why, elements=elements)
                continue
            if graph_hash.digest in by_digest:
                by_digest[graph_hash.digest].members.extend(same)
            else:
                by_digest[graph_hash.digest] = _Group(
                    list(same), steps, graph_hash, "", tuple(weights), run, elements
                )
        for group in by_digest.values():
            is_by_seed = _differs_by_seed(source, group, device)
            yield replace(group, graph_hash=None, why_single=BY_SEED) if is_by_seed else group


def _differs_by_seed(source: ExperimentFile, group: _Group, device: str) -> bool:
    """Whether a member of the arguments of the group's run has another computation graph."""
    assert group.run is not None
    assert group.graph_hash is not None
    of_run = repr(sorted(group.run.member.arguments.items()))
    for member in group.members[1:]:
        if repr(sorted(member.arguments.items())) == of_run:
            try:
                other = MemberRun.of(source, member, device).graph_hash(group.numbers)
            except Exception:  # it is told of when the member is trained
                return False
            return other.digest != group.graph_hash.digest
    return False


def _by_arguments(members: Iterable[Member]) -> list[list[Member]]:
    found: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        found[repr(sorted(member.arguments.items()))].append(member)
    return list(found.values())


def _divided(group: _Group, way: str, num_workers: int, device: str) -> list[WorkItem]:
    """The items of a group, for which there are so many processes."""
    why, graph_hash = group.why_single, group.graph_hash
    if not why and len(group.members) == 1:
        why = "no other member has the same computation graph"
    on_processor = torch.device(device).type == "cpu"
    if not why and way == "auto" and on_processor and graph_hash and graph_hash.is_convolutional:
        why = "a processor does convolutions of many networks at once no faster"
    if not why and way == "auto" and on_processor and _work(group) < LITTLE_WORK:
        why = "it takes less time than to prepare what would train them together"
    backend, missing = _backend(group, num_workers, torch.device(device).type)
    why = why or _why_not_batched(group, backend)
    if why or graph_hash is None:
        alone = partial(WorkItem, is_batched=False, why=why, steps=group.total_steps)
        return [alone((member,), elements=group.elements) for member in group.members]
    at_once = MOST_MEMBERS
    if on_processor:
        at_once = max(FEWEST_MEMBERS, min(MOST_MEMBERS, ELEMENTS // graph_hash.largest))
    parts = -(-len(group.members) // at_once)
    equal = -(-parts // num_workers) * num_workers  # an equal load
    parts = max(1, min(len(group.members) // 2, equal))
    size = -(-len(group.members) // parts)
    return [
        WorkItem(
            tuple(group.members[start : start + size]),
            is_batched=True,
            why=f"{len(group.members)} members have the same computation graph, "
            f"{size} at once{missing}",
            backend=backend,
            steps=group.total_steps,
            elements=group.elements,
            numbers=group.numbers,
        )
        for start in range(0, len(group.members), size)
    ]


def _why_not_batched(group: _Group, backend: str) -> str:
    """Make the step of a batch now, as its process would; why that cannot be, empty if it can."""
    if group.run is None:
        return ""
    try:
        try:
            BatchedRuns([group.run], group.numbers, backend=backend)
        except FusionError:  # such a step is captured
            BatchedRuns([group.run], group.numbers)
    except Exception as error:  # whatever it is, alone they may train
        return f"they cannot be trained together: {one_line(error)}"
    return ""


def _work(group: _Group) -> float:
    """Seconds of a processor that its members would take alone."""
    return BY_PROGRAMS * group.num_operations * group.total_steps * len(group.members)


def _backend(group: _Group, num_workers: int, device_type: str) -> tuple[str, str]:
    """How steps of a group are computed: what pays; and what is missing for it, if anything is."""
    operations = group.num_operations
    steps = group.total_steps * len(group.members) / num_workers
    if device_type == "cpu":
        saved, cost, backend, missing = SAVED_BY_FUSING, FUSING, "fused", library.why_not()
    else:
        saved, cost, backend, missing = (
            SAVED_BY_COMPILING,
            COMPILING,
            "compiled",
            unavailable_reason(device_type),
        )
    if saved * operations * steps <= cost[0] + cost[1] * operations:
        return "captured", ""
    return ("captured", f", slower as {missing}") if missing else (backend, "")
