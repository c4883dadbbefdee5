"""What a training step is computed from."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from pyro.params.param_store import ParamStoreDict
from torch import Tensor, nn

from pyro_decomp.data.batches import Batch
from pyro_decomp.elbo import Estimate
from pyro_decomp.elbo.numbers import Number
from pyro_decomp.programs.program_state import ProgramState
from pyro_decomp.schedules import Schedule


class Objective(Protocol):
    """What is maximised."""

    def evaluate(
        self, model: Callable[..., Any], guide: Callable[..., Any], /, *batch: Tensor
    ) -> Estimate:
        """Run the model and the guide on a batch once, and estimate the objective."""


class Programs(Protocol):
    """A model, a guide and an objective, with the numbers of theirs that schedules set.

    They are asked for at every step, since a user may put others in their place between two.
    """

    schedules: Mapping[str, Schedule]

    @property
    def elbo(self) -> Objective:
        """The objective."""

    @property
    def model(self) -> Callable[..., Any]:
        """The generative model, a Pyro program of a batch of data."""

    @property
    def guide(self) -> Callable[..., Any]:
        """The guide, a Pyro program of a batch of data."""

    @property
    def total_steps(self) -> int:
        """The number of the last step of the run."""

    @property
    def auxiliaries(self) -> Mapping[str, object]:
        """The networks that the objective trains beside itself, by name."""

    def number(self, name: str) -> Number:
        """A number of the model, the guide or the objective by its dotted name."""

    def at_first_step(self) -> AbstractContextManager[None]:
        """Have scheduled numbers inside as at the first step."""

    def apply_schedules(self, step: int) -> Mapping[str, float]:
        """Set every scheduled number as it is at a step, from 1, and return the values."""


@dataclass(frozen=True)
class StepSource:
    """What a training step is computed from, and what it changes.

    Attributes:
        programs: The model, the guide and the objective.
        modules: The networks that they use.
        parameters: Every tensor that the objective trains, by name, unconstrained.
        store: What ``pyro.param`` keeps for them.
        python: What else they keep in Python between their runs.
        batches: Data of the shape of the first batch; then of the last one of an epoch, where that
            is smaller.
        changing: Names of numbers that are taken to change, though no schedule sets them.
        takes_any: Whether a step is taken where its values are not finite, as Pyro takes it.
    """

    programs: Programs
    modules: list[nn.Module]
    parameters: dict[str, Tensor]
    store: ParamStoreDict
    python: ProgramState
    batches: tuple[Batch, ...]
    changing: tuple[str, ...] = ()
    takes_any: bool = False

    def evaluate(self, *batch: Tensor) -> Estimate:
        """Run the model and the guide on a batch once, and estimate the objective."""
        programs = self.programs
        return programs.elbo.evaluate(programs.model, programs.guide, *batch)

    def moved(self) -> list[str]:
        """Paths of what the programs keep in Python that is not as when they were prepared."""
        with self.programs.at_first_step():  # what schedules set is an input
            moved = self.python.moved()
        return [path for path in moved if not path.endswith(".training")]
