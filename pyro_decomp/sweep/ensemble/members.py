"""Members of a grid of runs, the items of work that train them, and what became of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Member:
    """One run of a grid.

    Args:
        name: The name of its folder, unique in the grid, such as ``alpha=1,beta=0.5,seed=3``.
        arguments: What ``experiment`` is called with, as
            :meth:`~pyro_decomp.training.experiment_file.ExperimentFile.build` takes it.
        seed: Of its parameters, batches and noise.
    """

    name: str
    arguments: Mapping[str, Any]
    seed: int


@dataclass(frozen=True)
class WorkItem:
    """One unit of work: members that one process trains.

    Args:
        members: One, or several that are trained as one computation.
        is_batched: True for one batched computation, False for a single run, trained as
            :func:`pyro_decomp.train` does.
        why: Why so, in a sentence.
        backend: What computes the steps of several: "captured", "compiled" or "fused"; a step that
            cannot be fused is captured.
        steps: That each member takes; 0 where it is not known.
        elements: Of the data of one step of one member; 0 where it is not known.
        numbers: Names of those that differ among the members of all items of one computation graph,
            or that schedules change: one step serves them all if these are its inputs.
    """

    members: tuple[Member, ...]
    is_batched: bool
    why: str
    backend: str = "captured"
    steps: int = 0
    elements: int = 0
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a member.

    Args:
        name: The member's.
        status: ``finished``; ``not finite`` if a term, gradient or parameter became infinite or not
            a number; ``failed`` if anything else went wrong.
        step: Steps done.
        seconds: Of wall clock that it took; of a batched item, its share.
        message: What went wrong, in a sentence; empty if nothing did.
        is_batched: Whether it was trained in a batch with others.
    """

    name: str
    status: str
    step: int
    seconds: float
    message: str = ""
    is_batched: bool = False
