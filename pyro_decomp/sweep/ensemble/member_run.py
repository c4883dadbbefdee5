"""A member of an ensemble, made ready to be trained: what is its own, and what it shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from pyro_decomp.acceleration import GraphHash, StepSource, graph_hash, unstackable_reason
from pyro_decomp.elbo.numbers import full_name, objective_weights
from pyro_decomp.errors import listed
from pyro_decomp.schedules import Schedule
from pyro_decomp.seeds import derive, random_state, seeded, set_seed
from pyro_decomp.sweep.ensemble.members import Member
from pyro_decomp.training.description import data_record
from pyro_decomp.training.experiment import Experiment
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.fitting import TRAINING_STREAM
from pyro_decomp.training.run import describe
from pyro_decomp.training.state import State, optimizer_of, prepare, step_source
from pyro_decomp.training.training import check_first


@dataclass
class MemberRun:
    """A member with its experiment, as :func:`pyro_decomp.train` would begin it.

    Attributes:
        member: Whose.
        experiment: Its programs, data and objective.
        state: Its networks and parameters.
        config: What its ``config.json`` records, but for the execution.
        random: Its random generators, as they are before the first step.
        step_source: What its steps are computed from.
    """

    member: Member
    experiment: Experiment
    state: State
    config: dict[str, Any]
    random: dict[str, Any]
    step_source: StepSource

    @classmethod
    def of(cls, source: ExperimentFile, member: Member, device: str = "cpu") -> "MemberRun":
        """Run the experiment file with the member's seed and arguments.

        Raises:
            DecompError: As :func:`pyro_decomp.train` does, or what the user's file raises.
        """
        own = source.fresh(member.seed)
        set_seed(member.seed)
        experiment = own.build(member.arguments)
        config = describe(experiment, member.seed, device, own, member.arguments)
        state = prepare(experiment, device, check=partial(check_first, config))
        config |= data_record(experiment)
        state.train(True)
        with seeded(derive(member.seed, TRAINING_STREAM)):
            random = random_state()
        return cls(member, experiment, state, config, random, step_source(experiment, state))

    def numbers(self) -> dict[str, float]:
        """The numbers of its objective, and those that schedules change, by their whole names."""
        names = [*objective_weights(self.experiment.elbo), *self.experiment.schedules]
        return {full_name(name): self.number(name) for name in names}

    def number(self, name: str) -> float:
        """One of its numbers as it is now."""
        return float(self.experiment.number(name).get())

    def optimizer(self) -> torch.optim.Optimizer:
        """An optimiser of its parameters."""
        return optimizer_of(self.experiment, self.state)

    def why_single(self) -> str:
        """What keeps it from training with others, in a clause; empty if nothing is known to.

        It is to be asked for when all that are to train together are made: they may share what an
        imported module keeps, and each has the last one's then.
        """
        if self.experiment.callbacks:
            return "its callbacks are told of the steps of one run alone"
        if self.experiment.auxiliaries:
            return "the objective trains networks of its own on the programs' traces"
        if reason := unstackable_reason(self.optimizer()):
            return reason
        moving = self.state.program.moving
        if paths := [p for p, kind in moving.items() if kind not in ("tensor", "generator")]:
            return f"every run of the programs changes {listed(paths)}, which Python keeps"
        if shared := self.step_source.moved():
            return f"another member has changed {listed(shared)}, which they share"
        return ""

    def outline(self) -> tuple[Any, ...]:
        """What members that train together must have in common, before their programs are run.

        Weights of the objective are told by whether they are 0, where nothing is computed of what
        they weigh; those that schedules change, by the steps at which they are.
        """
        experiment, total = self.experiment, self.experiment.total_steps
        scheduled = {full_name(name): each for name, each in experiment.schedules.items()}
        parameters = list(self.state.parameters.values())
        place = {id(parameter): index for index, parameter in enumerate(parameters)}
        optimizer = self.optimizer()
        groups = [
            group | {"params": [place.get(id(parameter)) for parameter in group["params"]]}
            for group in optimizer.param_groups
        ]
        return (
            type(experiment.elbo).__name__,
            tuple((name, self.experiment.number(name).is_zero_weight) for name in self.numbers()),
            tuple((name, tuple(p.shape), p.dtype) for name, p in self.state.parameters.items()),
            tuple(tuple(tensor.shape) for tensor in self.experiment.batches[0]),
            (len(experiment.data), experiment.total_steps, experiment.batch_size),
            experiment.clip_grad_norm,
            tuple((name, _zeros(name, each, total)) for name, each in scheduled.items()),
            (type(optimizer), repr(groups)),
        )

    def graph_hash(self, weights: Sequence[str]) -> GraphHash:
        """What a step of it computes, by which members are told to have the same graph.

        Raises:
            CaptureError: It cannot be captured.
        """
        with seeded(derive(self.member.seed, TRAINING_STREAM)):
            return graph_hash(self.step_source, self.experiment.batches[0], weights)


def own_numbers(runs: Sequence[MemberRun]) -> list[str]:
    """Numbers that members have of their own, or that schedules change."""
    each = [run.numbers() for run in runs]
    names = dict.fromkeys(name for numbers in each for name in numbers)
    varied = [n for n in names if len({numbers.get(n) for numbers in each}) > 1]
    scheduled = {full_name(name) for run in runs for name in run.experiment.schedules}
    return [n for n in names if n in varied or n in scheduled]


def _zeros(name: str, schedule: Schedule, total: int) -> tuple[int, ...]:
    """The steps at which a weight of the objective becomes 0 or ceases to be it."""
    if not name.startswith("elbo."):
        return ()
    is_zero = [False, *(schedule.value(step, total) == 0 for step in range(1, total + 1))]
    return tuple(step for step in range(1, total + 1) if is_zero[step] != is_zero[step - 1])
