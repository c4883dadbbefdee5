"""The files of a run: what is in them, and how they are written so that none is ever half there."""

import itertools
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

from pyro_decomp.errors import DecompError, RunError, write_whole
from pyro_decomp.training.recorded.kept import FILE_NAME
from pyro_decomp.training.run_files import run_config
from pyro_decomp.training.run_files.checked_files import (
    AGAIN,
    RESTORE,
    check_form,
    facts_of,
    read_checked,
    write_checked,
)
from pyro_decomp.training.run_files.history import History, as_csv, facts, read_history
from pyro_decomp.training.run_files.json_files import marked
from pyro_decomp.training.run_files.tensor_files import read_tensors, write_tensors
from pyro_decomp.training.run_files.writer import BY_ITSELF, Lock, check_free, is_passing, writer

Which = Literal["last", "best"]


class Checkpoint(TypedDict):
    """The keys of a checkpoint that others rely on."""

    step: int
    rows: int
    modules: list[Any]
    parameters: dict[str, Any]
    optimizer: dict[str, Any]
    auxiliaries: dict[str, Any]
    random: dict[str, Any]
    python: NotRequired[dict[str, Any] | None]


PICTURES = (
    "terms.png",
    "reconstructions.png",
    "prior_samples.png",
    "aggregate_posterior.png",
    "encodings.png",
    "traversals.png",
    "traversals.gif",
    "mutual_information.png",
    "codes_against_factors.png",
    "code_magnitudes.png",
    "active_dimensions.png",
)


class RunFolder:
    """The files of a run: configuration, history, checkpoint, metrics, resources and plots.

    Attributes:
        note: Where the run is, if that is not where it was asked for; a sentence, or empty.
        held_by: The folder that this one is in, if that is a temporary one.
        is_trusted: Whether its source is executed whoever could have written it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_path = self.path / run_config.NAME
        self.history_path = self.path / "history.csv"
        self.checkpoint_path = self.path / "checkpoint.pt"
        best_path = self.path / "best.pt"
        self.checkpoint_paths: dict[Which, Path] = {"last": self.checkpoint_path, "best": best_path}
        self.metrics_path = self.path / BY_ITSELF
        self.resources_path = self.path / "resources.json"
        self.tensors_path = self.path / FILE_NAME
        self.plots_path = self.path / "plots"
        self.note = ""
        self.is_trusted = False
        self.held_by: RunFolder | None = None
        self._removal: Any = None
        self._lock: Lock | None = None
        self._identity = ""

    @contextmanager
    def written(self) -> Iterator[None]:
        """Keep other processes from writing here; see :func:`.writer`."""
        with writer(self.path) as held:
            self._lock = held
            try:
                yield
            finally:
                self._lock = None

    def keep(self) -> None:
        """Leave the folder where it is, also if it is a temporary one."""
        if self._removal is not None:
            self._removal.detach()

    def open_new(
        self, config: Mapping[str, Any], *, force: bool = False, held: ExitStack | None = None
    ) -> "RunFolder":
        """Make the folder and write its ``config.json``.

        Args:
            config: What the run is, in JSON's types.
            force: Take the place of the run that is there.
            held: Keeps other processes from writing there until it is closed.

        Returns:
            This folder; where it holds a finished run and ``force`` is False, a new one beside it,
            with a number.

        Raises:
            RunError: There is an unfinished or damaged run and ``force`` is False, or a folder that
                is no run, or a ``config.json`` that is damaged or no run's; or another process
                writes there.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: expected a folder for the run, got a file")
        check_free(self.path)
        if not force and self.config_path.exists() and self.is_finished(self.read_config()):
            return self.numbered("run").open_new(config, held=held)
        with ExitStack() as meanwhile:
            (held or meanwhile).enter_context(self.written())
            if self.config_path.exists():
                self.read_config()
                if not force:
                    raise RunError(
                        f"{self.path} already holds a run: continue it with --resume "
                        "(resume=True), replace it with --force (force=True), or choose another "
                        "folder with --out"
                    )
                self._remove_run()
            elif not all(map(is_passing, self.path.iterdir())):
                raise RunError(
                    f"{self.path} holds files but no run: choose another folder with --out"
                )
            self._write_config(config)
        return self

    def is_finished(self, config: Mapping[str, Any]) -> bool:
        """Whether the run here has been trained to the end that it was to have.

        Raises:
            RunError: Its checkpoint is damaged.
        """
        checkpoint = self.read_checkpoint()
        if checkpoint is None:
            return False
        return checkpoint["step"] == config.get("total_steps") or bool(checkpoint.get("stopped"))

    def numbered(self, what: str) -> "RunFolder":
        """A new folder beside this one: ``a-2`` beside ``a``, or the next number that is free."""
        before = self.path.resolve() if self.path.name in ("", "..") else self.path
        for number in itertools.count(2):
            path = before.with_name(f"{before.name}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                continue
            folder = RunFolder(path)
            folder.note = f"{self.path} holds a finished {what}, so this one is in {path}"
            return folder
        raise AssertionError

    def read_config(self) -> dict[str, Any]:
        """Read ``config.json``: what the run is.

        Raises:
            RunError: There is no run, or its ``config.json`` cannot be read.
        """
        config = run_config.read_run_config(self.path)
        self._identity = run_config.identity(config)
        return config

    def _write_config(self, config: Mapping[str, Any]) -> None:
        write_checked(self.config_path, marked(config))
        self._identity = run_config.identity(config)

    def write_execution(
        self, execution: Mapping[str, Any], environments: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Say in ``config.json`` how steps are computed from now on, and by what they were."""
        found = {"environments": list(environments)} if environments else {}
        self._note({"execution": dict(execution), **found})

    def write_stretches(self, ends: Sequence[int]) -> None:
        """Say in ``config.json`` to which step a run is trained that went on after its end."""
        self._note({"total_steps": ends[-1], "stretches": list(ends)})

    def _note(self, found: Mapping[str, Any]) -> None:
        self._write_config(self.read_config() | dict(found))

    def write_checkpoint(
        self, checkpoint: Mapping[str, Any], history: History, which: Which = "last"
    ) -> None:
        """Write the history and then the checkpoint, each whole or not at all.

        Raises:
            RunError: Another process has taken the folder over.
        """
        text = self.write_history(history)
        if not self._identity:
            self.read_config()
        known = facts(history, text) | {"run": self._identity}
        write_tensors(self.checkpoint_paths[which], dict(checkpoint), known)

    def write_history(self, history: History) -> bytes:
        """Write ``history.csv``, which may have steps after those of the checkpoint.

        Returns:
            Its text.

        Raises:
            RunError: Another process has taken the folder over.
        """
        if self._lock is not None:
            self._lock.check()
        text = as_csv(history)
        write_whole(self.history_path, text)
        return text

    def read_checkpoint(self, which: Which = "last") -> dict[str, Any] | None:
        """Read a checkpoint, tensors in main memory and plain values; None if there is none.

        Raises:
            RunError: It is damaged, not a checkpoint, or one of another run.
        """
        path = self.checkpoint_paths[which]
        if not os.path.lexists(path):
            return None
        checkpoint, known = read_tensors(path, RESTORE)
        what = "a checkpoint of a run"
        if not isinstance(checkpoint, dict):
            raise RunError(f"{path}: expected {what}, got {type(checkpoint).__name__} ({RESTORE})")
        check_form(path, checkpoint, Checkpoint, what, RESTORE)
        run_config.check_own(path, known, self.read_config())
        return checkpoint

    @contextmanager
    def put_back(self, which: Which = "last") -> Iterator[None]:
        """Refuse a checkpoint that the block cannot put back into an experiment.

        Raises:
            RunError: It has other networks or parameters, or anything at all in their place.
        """
        try:
            yield
        except (DecompError, MemoryError):
            raise
        except Exception as error:
            why = "it holds other things than a checkpoint has"
            if isinstance(error, RuntimeError | ValueError):  # which tell of names and shapes
                why = " ".join(str(error).split())
            path = self.checkpoint_paths[which]
            raise RunError(f"{path} does not fit the run's experiment: {why}") from error

    def read_history(self, until_step: int, num_rows: int, which: Which = "last") -> History:
        """Read the rows of ``history.csv`` up to a step, column by column.

        Raises:
            RunError: The file is missing, is not a table of numbers, has not so many rows, or is
                not the one that the checkpoint was written with.
        """
        if until_step == 0:
            return {}
        known = facts_of(self.checkpoint_paths[which])
        history = read_history(self.history_path, known, until_step)
        if (found := len(history["step"])) != num_rows:
            raise RunError(
                f"{self.history_path}: expected {num_rows} rows up to step {until_step}, got "
                f"{found} ({RESTORE})"
            )
        return history

    def read_metrics(self) -> dict[str, Any]:
        """Read ``metrics.json``; empty where there is none, or none that can be read."""
        try:
            return read_checked(self.metrics_path, AGAIN)
        except RunError:
            return {}

    def write_metrics(self, metrics: Mapping[str, Any]) -> Path:
        """Write ``metrics.json``, in place of what it held."""
        write_checked(self.metrics_path, metrics)
        return self.metrics_path

    def read_resources(self) -> dict[str, Any]:
        """Read ``resources.json``; empty where there is none.

        Raises:
            RunError: It is damaged.
        """
        if not os.path.lexists(self.resources_path):
            return {}
        return read_checked(self.resources_path, AGAIN)

    def write_resources(self, resources: Mapping[str, Any]) -> None:
        """Write ``resources.json``: what the last stretch of training took."""
        write_checked(self.resources_path, resources)

    def _remove_run(self) -> None:
        """Remove all but ``config.json``, which the next run writes over."""
        files = [*self.checkpoint_paths.values(), self.history_path, self.tensors_path]
        files += [self.metrics_path, self.resources_path]
        pictures = [self.plots_path / name for name in PICTURES]
        for path in (*files, *pictures):
            path.unlink(missing_ok=True)


def temporary_folder() -> RunFolder:
    """A new run folder among the system's temporary files, removed once nothing holds it."""
    path = Path(tempfile.mkdtemp(prefix="pyro-decomp-"))
    folder = RunFolder(path)
    folder.note = f"the run is in {path} for as long as it is used (give out=... to keep it)"
    folder._removal = weakref.finalize(folder, shutil.rmtree, path, ignore_errors=True)
    return folder
