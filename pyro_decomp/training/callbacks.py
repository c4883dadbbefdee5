"""What is called while a run trains."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pyro_decomp.acceleration import Execution
    from pyro_decomp.training.experiment import Experiment
    from pyro_decomp.training.loop import Progress
    from pyro_decomp.training.run_folder import RunFolder
    from pyro_decomp.training.state import State


class Training(Protocol):
    """A training as callbacks see it.

    Attributes:
        experiment: What is trained, the run's own.
        state: Its networks and parameters.
        execution: How its steps are computed.
        folder: Its run folder.
        seed: Of its batches and noise.
        step: Steps done.
        total_steps: Steps of the whole run.
        progress: Where it stood after the last step that was logged; None before the first.
    """

    experiment: "Experiment"
    state: "State"
    execution: "Execution"
    folder: "RunFolder"
    seed: int
    step: int
    total_steps: int
    progress: "Progress | None"

    @property
    def epoch(self) -> int:
        """The epoch that the last step was in, from 1."""


class Callback:
    """Is told of the events of a training; a subclass has the methods of those that it wants.

    Every method takes the :class:`Training`.
    """

    def started(self, training: Training) -> None:
        """All is checked, and the first step comes next."""

    def step(self, training: Training) -> None:
        """A step that is logged was taken."""

    def epoch(self, training: Training) -> None:
        """The last step of an epoch was taken."""

    def evaluated(self, training: Training) -> None:
        """Held-out data were evaluated."""

    def checkpoint(self, training: Training) -> None:
        """A checkpoint was written."""

    def ended(self, training: Training) -> None:
        """The last step was taken, and the run is saved."""
