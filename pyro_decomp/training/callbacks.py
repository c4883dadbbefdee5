"""What a run tells its callbacks while it trains, and what these may ask of it."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pyro_decomp import arguments
from pyro_decomp.descriptions import Described

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from pyro_decomp.acceleration import Execution
    from pyro_decomp.training.run_files.run_folder import RunFolder

EVENTS = ("started", "step", "epoch", "evaluated", "checkpoint", "ended")


class Callback(Described):
    """Is told of the events of a training; a subclass has the methods of those that it wants.

    Every method takes the :class:`Training`. What a method draws at random, and the mode of
    networks, cannot change the steps that follow: generators are put back after it, networks are in
    evaluation mode inside. Parameters, numbers of the programs and settings of the optimiser that a
    method changes are changed.

    What a callback keeps in numbers, strings, lists, dictionaries, arrays and tensors is kept in
    the checkpoint, so that a resumed run goes on with it. One that has methods ``state_dict()`` and
    ``load_state_dict(state)`` decides that itself; the second is called before ``started``, with
    ``{}`` where the run begins. An error raised in a method ends the run, which is saved.
    """

    def started(self, training: "Training") -> None:
        """All is checked, or read from a checkpoint, and the next step comes next."""

    def step(self, training: "Training") -> None:
        """A step was taken."""

    def epoch(self, training: "Training") -> None:
        """The last step of an epoch was taken."""

    def evaluated(self, training: "Training") -> None:
        """Numbers of an evaluation were recorded, such as those of held-out data."""

    def checkpoint(self, training: "Training") -> None:
        """A checkpoint was written."""

    def ended(self, training: "Training") -> None:
        """No step comes any more, whatever the reason; the run is saved as far as it can be."""


class Training:
    """A run that trains, as its callbacks see it; nothing of it can be assigned.

    Args:
        run: Which.
        events: What its callbacks are told and have recorded.
    """

    __slots__ = ("_events", "_run")
    _is_memory_of_programs = True  # a callback that keeps it keeps no state of its own in it

    def __init__(self, run: Any, events: Any) -> None:
        self._run, self._events = run, events

    @property
    def step(self) -> int:
        """Steps done."""
        return self._run.step

    @property
    def seed(self) -> int:
        """Of the run's batches and noise."""
        return self._run.seed

    @property
    def total_steps(self) -> int:
        """Steps of the whole run, unless it is stopped."""
        return self._run.total_steps

    @property
    def epoch(self) -> int:
        """The epoch that the last step was in, from 1."""
        return self._run.epoch

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the data."""
        return self.experiment.steps_per_epoch

    @property
    def values(self) -> Mapping[str, float]:
        """Of the last step: ``objective``, ``elbo`` and every term, in nats per datum.

        Then what schedules set, and the losses of auxiliary networks. Empty before the first step.
        """
        return MappingProxyType(dict(self._events.values))

    @property
    def epoch_means(self) -> Mapping[str, float]:
        """The means of the values over the data of the last whole epoch, by the values' names.

        Where an epoch is one step these are the values of that step; empty before the first end.
        """
        return MappingProxyType(dict(self._events.epoch_means))

    @property
    def evaluation(self) -> Mapping[str, float]:
        """What was recorded of the last evaluation: ``test_elbo`` and so on."""
        return MappingProxyType(dict(self._events.evaluation))

    @property
    def is_logged(self) -> bool:
        """Whether the last step is a row of the history: each is, in runs of up to 10,000 steps."""
        return self._run.is_row

    @property
    def row(self) -> dict[str, float]:
        """The last row of the history, with what was recorded into it so far."""
        columns = self._run.histories[0].items()
        return {n: column[-1] for n, column in columns if n not in ("step", "epoch")}

    @property
    def history(self) -> dict[str, "np.ndarray"]:
        """The columns of ``history.csv`` so far, as copies."""
        import numpy as np  # noqa: PLC0415 (the command line starts without)

        return {name: np.asarray(column) for name, column in self._run.histories[0].items()}

    @property
    def experiment(self) -> Any:
        """The :class:`~pyro_decomp.Experiment` that is trained, with the run's own networks."""
        return self._run.experiment

    @property
    def state(self) -> Any:
        """The networks and parameters."""
        return self._run.state

    @property
    def parameters(self) -> Mapping[str, "Tensor"]:
        """Every tensor that the objective trains, by name, unconstrained."""
        return MappingProxyType(self._run.state.parameters)

    @property
    def optimizer(self) -> "torch.optim.Optimizer":
        """The optimiser; the settings of its groups, such as ``lr``, are read at every step."""
        return self._run.optimizer

    @property
    def model(self) -> Callable[..., Any]:
        """The generative model; what it keeps in Python stays as it was at every call."""
        return self._run.state.program.unmoved(self.experiment.model)

    @property
    def guide(self) -> Callable[..., Any]:
        """The guide; see :attr:`model`."""
        return self._run.state.program.unmoved(self.experiment.guide)

    @property
    def run(self) -> Any:
        """The run so far, to be asked as a trained one is; its networks are those that train."""
        return self._run.so_far()

    @property
    def execution(self) -> "Execution":
        """How steps are computed."""
        return self._run.execution

    @property
    def folder(self) -> "RunFolder":
        """The files of the run."""
        return self._run.folder

    @property
    def callbacks(self) -> tuple[Callback, ...]:
        """All that are told of this training, in their order."""
        return self._events.callbacks

    @property
    def is_resumed(self) -> bool:
        """Whether its first step was taken in an earlier call of ``train``."""
        return self._run.is_resumed

    @property
    def steps_per_second(self) -> float:
        """Since this call of ``train`` began."""
        return self._run.steps_per_second

    @property
    def seconds_left(self) -> float:
        """Of the whole run, at that rate."""
        rate = self.steps_per_second
        return (self.total_steps - self.step) / rate if rate else float("nan")

    @property
    def stopped(self) -> str:
        """Why the run ends before its last step; empty if it does not."""
        return self._run.stopped

    def stop(self, reason: str) -> None:
        """End the run after this step, as one that is finished.

        Args:
            reason: Why, in a clause; it is kept with the run.
        """
        if not isinstance(reason, str) or not reason.strip():
            arguments.refuse("reason", "a clause that says why", reason)
        self._run.stopped = reason

    def gradient_norms(self, *, by_parameter: bool = False) -> dict[str, float]:
        """Euclidean norms of the last step's gradient, before any clipping.

        Args:
            by_parameter: Give that of every parameter too.

        Returns:
            That of the whole gradient by an empty name, those of parameters by theirs.
        """
        return self._run.gradient_norms(by_parameter=by_parameter)

    def record(self, values: Mapping[str, float], *, is_evaluation: bool = False) -> None:
        """Write numbers into columns of the history, in the row of this step or the next there is.

        Args:
            values: By the names of the columns.
            is_evaluation: They were measured for the model as it is now: callbacks are told so
                (:meth:`Callback.evaluated`), and may stop or keep the run by them.
        """
        found = {name: float(value) for name, value in values.items()}
        self._events.record(found, is_evaluation=is_evaluation)

    def save_best(self) -> None:
        """Write the run as it is now beside its checkpoint, as ``best.pt``.

        :func:`pyro_decomp.load` gets it back by ``load(path, checkpoint="best")``.
        """
        self._run.save_as("best")

    def best_step(self) -> int:
        """The step of what :meth:`save_best` wrote; -1 where there is nothing of this run."""
        checkpoint = self.folder.read_checkpoint("best") if self.is_resumed else None
        return int(checkpoint["step"]) if checkpoint else -1


def is_own(callback: Callback) -> bool:
    """Whether a callback is one of the package's, which leave alone what they are not to move."""
    return type(callback).__module__.startswith("pyro_decomp.")
