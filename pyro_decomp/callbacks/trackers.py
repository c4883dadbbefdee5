"""Handing the numbers of a run to programs that draw them: TensorBoard, MLflow, or a file."""

import csv
import math
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pyro_decomp import arguments
from pyro_decomp.callbacks import cadence
from pyro_decomp.errors import ExperimentError
from pyro_decomp.training.callbacks import Callback, Training

# What they write with is imported when a run starts.
# ruff: noqa: PLC0415

MOST_METRICS = 1000  # that MLflow takes at once


class Tracker(Callback):
    """Hands on the history of a run as it grows: all columns, at some of its rows.

    Rows at ends of epochs of several steps, and evaluations, are handed on whatever ``every`` is.
    """

    is_last = True  # others have written into a row before it is handed on
    package = ""  # that is needed

    def __init__(self, every: float = 0.001) -> None:
        cadence.check(every)
        self._every = every
        self._next, self._written = 0, (0, frozenset[str]())

    def check(self, training: Training) -> None:
        """Check that the package is there.

        Raises:
            ExperimentError: It is not.
        """
        name = type(self).__name__
        if self.package and not _is_installed(self.package):
            raise ExperimentError(
                f"{name}: expected the package {self.package}, which is not installed; install it "
                f"with pip install 'pyro-decomp[{name.lower()}]'"
            )

    def started(self, training: Training) -> None:
        """Open what is written to; a run that is resumed goes on in it."""
        self._steps = cadence.steps_between(self._every, training)
        self._begin(training, training.step)

    def step(self, training: Training) -> None:
        """Hand on the row of the step, if there is one and it is due."""
        per_epoch, step = training.steps_per_epoch, training.step
        if step <= self._written[0]:  # it is taken again, as the run went back before it
            self.close(is_whole=False)
            self._begin(training, step - 1)
        ends_epoch = per_epoch > 1 and step % per_epoch == 0
        is_due = step >= self._next or ends_epoch or step == training.total_steps
        if not (training.is_logged and is_due):
            return
        if step >= self._next:
            self._next = step + self._steps
        self._hand_on(training.row, step)

    def epoch(self, training: Training) -> None:
        """Hand on what was recorded since, if the row was handed on."""
        if self._written[0] == training.step and training.is_logged:
            self._hand_on(training.row, training.step)

    def evaluated(self, training: Training) -> None:
        """Hand on the evaluation, and what was recorded since."""
        self.epoch(training)
        self._hand_on(training.evaluation, training.step)

    def ended(self, training: Training) -> None:
        """Close what was written to."""
        is_whole = bool(training.stopped) or training.step == training.total_steps
        self.close(is_whole=is_whole)

    def _hand_on(self, values: Mapping[str, float], step: int) -> None:
        """Write what was not yet written of a step."""
        written = self._written[1] if self._written[0] == step else frozenset()
        new = {n: v for n, v in values.items() if n not in written and not math.isnan(v)}
        self._written = step, written | new.keys()
        if new:
            self.write(new, step)

    def _begin(self, training: Training, step: int) -> None:
        self._next, self._written = step + 1, (step, frozenset())
        self.open(training, step)

    def open(self, training: Training, step: int) -> None:
        """Make ready to write.

        Args:
            training: Of what.
            step: What was written of later steps is to go.
        """

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers of a step by their names."""

    def close(self, *, is_whole: bool) -> None:
        """Write nothing more."""


class CSVLog(Tracker):
    """Appends the numbers of a run to a file while it trains, a line a number.

    The columns are ``step``, ``epoch``, ``name`` and ``value``. ``history.csv`` has them as a
    table, but only as far as the last checkpoint.

    Args:
        path: The file, of this run alone; by default ``log.csv`` in the run's folder.
        every: Between two rows at least: a whole number of epochs, or a fraction of the run in
            (0, 1].
    """

    def __init__(self, path: str | Path | None = None, every: float = 0.001) -> None:
        super().__init__(every)
        arguments.path(**arguments.given(path=path))
        self._path = path
        self._file: Any = None

    def open(self, training: Training, step: int) -> None:
        """Open the file, with the lines up to a step; a run that begins replaces it."""
        path = Path(self._path or training.folder.path / "log.csv")
        self._per_epoch = training.steps_per_epoch
        before = list(_lines_until(path, step))
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerows([["step", "epoch", "name", "value"], *before])
        self._file.flush()

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Write a line a number."""
        epoch = (step - 1) // self._per_epoch + 1
        self._writer.writerows([step, epoch, name, repr(v)] for name, v in values.items())
        self._file.flush()

    def close(self, *, is_whole: bool) -> None:
        """Close the file."""
        self._file.close()


class TensorBoard(Tracker):
    """Writes the numbers of a run for TensorBoard; needs the package ``tensorboard``.

    ``tensorboard --logdir runs`` shows all runs below a folder.

    Args:
        folder: Where; by default ``tensorboard`` in the run's folder.
        every: Between two rows at least: a whole number of epochs, or a fraction of the run in
            (0, 1].
    """

    package = "tensorboard"

    def __init__(self, folder: str | Path | None = None, every: float = 0.001) -> None:
        super().__init__(every)
        arguments.path(**arguments.given(folder=folder))
        self._folder = folder
        self._writer: Any = None

    def open(self, training: Training, step: int) -> None:
        """Open the log; what it has of later steps is not shown."""
        from torch.utils.tensorboard import SummaryWriter

        folder = self._folder or training.folder.path / "tensorboard"
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Write a point of each curve."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, *, is_whole: bool) -> None:
        """Write what is in memory."""
        self._writer.close()


class MLflow(Tracker):
    """Writes the numbers of a run, its arguments and its seed to MLflow; needs the package.

    Args:
        uri: Where, such as ``http://localhost:5000``, ``sqlite:///mlflow.db`` or a folder; by
            default what MLflow takes where nothing is said.
        experiment: The name that MLflow groups runs by.
        every: Between two rows at least: a whole number of epochs, or a fraction of the run in
            (0, 1].
    """

    package = "mlflow"

    def __init__(
        self,
        uri: str | Path | None = None,
        experiment: str = "pyro-decomp",
        every: float = 0.001,
    ) -> None:
        super().__init__(every)
        arguments.path(**arguments.given(uri=uri))
        arguments.text(experiment=experiment)
        self._uri, self._experiment = uri, experiment
        self._id: str | None = None
        self._client: Any = None

    def open(self, training: Training, step: int) -> None:
        """Begin a run of MLflow's, or go on with that of a run that is resumed."""
        from mlflow import MlflowClient

        self._client = MlflowClient(None if self._uri is None else str(self._uri))
        if self._id is not None:
            self._client.update_run(self._id, status="RUNNING")
            return
        group = self._client.get_experiment_by_name(self._experiment)
        number = group.experiment_id if group else self._client.create_experiment(self._experiment)
        folder = training.folder
        self._id = self._client.create_run(number, run_name=folder.path.name).info.run_id
        config = folder.read_config()
        for name, value in {**config["arguments"], "seed": config["seed"]}.items():
            self._client.log_param(self._id, name, value)

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Write a point of each curve; a name has dots where MLflow takes no brackets."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [
            Metric(re.sub(r"[^\w\-. /]+", ".", name).strip("."), value, now, step)
            for name, value in values.items()
        ]
        for start in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[start : start + MOST_METRICS])

    def close(self, *, is_whole: bool) -> None:
        """Say how it ended."""
        self._client.set_terminated(self._id, "FINISHED" if is_whole else "KILLED")

    def state_dict(self) -> dict[str, Any]:
        """The number of MLflow's run."""
        return {"id": self._id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with that run."""
        self._id = state.get("id")


TRACKERS = {"csv": CSVLog, "mlflow": MLflow, "tensorboard": TensorBoard}


def _is_installed(package: str) -> bool:
    with suppress(ValueError):  # one that is there without a specification
        return find_spec(package) is not None
    return True


def _lines_until(path: Path, step: int) -> Iterator[list[str]]:
    """The whole lines of a log up to a step."""
    if not path.exists():
        return
    with path.open(newline="") as file:
        for line in csv.reader(file):
            if len(line) == 4 and line[0].isdigit() and int(line[0]) <= step:
                yield line
