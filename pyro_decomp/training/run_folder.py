"""The files of a run: what is in them, and how they are written so that none is ever half there."""

import copy
import csv
import io
import itertools
import math
import os
import pickle
import shutil
import struct
import sys
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from pyro_decomp.errors import RunError, unfinished, write_whole
from pyro_decomp.training.json_files import marked, read_json, write_json
from pyro_decomp.training.recorded.kept import FILE_NAME

History = dict[str, list[float]]
Which = Literal["last", "best"]

CONFIG_KEYS = {"arguments", "seed", "source", "source_file", "source_sha256"}
CHECKPOINT_KEYS = {"step", "rows", "modules", "parameters", "optimizer", "auxiliaries", "random"}
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

_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    pickle.UnpicklingError,
    RuntimeError,
    ValueError,
    LookupError,
    EOFError,
)


class RunFolder:
    """The files of a run: configuration, history, checkpoint, metrics, resources and plots.

    Attributes:
        note: Where the run is, if that is not where it was asked for; a sentence, or empty.
        held_by: The folder that this one is in, if that is a temporary one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.history_path = self.path / "history.csv"
        self.checkpoint_path = self.path / "checkpoint.pt"
        self.checkpoint_paths = {"last": self.checkpoint_path, "best": self.path / "best.pt"}
        self.metrics_path = self.path / "metrics.json"
        self.resources_path = self.path / "resources.json"
        self.tensors_path = self.path / FILE_NAME
        self.plots_path = self.path / "plots"
        self.note = ""
        self.held_by: RunFolder | None = None
        self._removal: Any = None

    def keep(self) -> None:
        """Leave the folder where it is, also if it is a temporary one."""
        if self._removal is not None:
            self._removal.detach()

    def open_new(self, config: Mapping[str, Any], *, force: bool = False) -> "RunFolder":
        """Make the folder and write its ``config.json``.

        Args:
            config: What the run is, in JSON's types.
            force: Take the place of the run that is there.

        Returns:
            This folder; where it holds a finished run and ``force`` is False, a new one beside it,
            with a number.

        Raises:
            RunError: There is an unfinished run and ``force`` is False, or a folder that is no run,
                or a ``config.json`` that is no run's.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: expected a folder for the run, got a file")
        if self.config_path.exists():
            before = self.read_config()
            if not force:
                if not self.is_finished(before):
                    raise RunError(
                        f"{self.path} already holds a run: continue it with --resume "
                        "(resume=True), replace it with --force (force=True), or choose another "
                        "folder with --out"
                    )
                return self.numbered("run").open_new(config)
            self._remove_run()
        elif self.path.exists() and set(self.path.iterdir()) - {unfinished(self.config_path)}:
            raise RunError(f"{self.path} holds files but no run: choose another folder with --out")
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.config_path, marked(config))
        return self

    def is_finished(self, config: Mapping[str, Any]) -> bool:
        """Whether the run here has been trained to the end that it was to have."""
        try:
            checkpoint = self.read_checkpoint()
        except RunError:  # a damaged one
            return False
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
        if not self.config_path.exists():
            raise RunError(f"{self.path}: expected a run folder with a config.json, found none")
        try:
            config = read_json(self.config_path)
        except (ValueError, OSError) as error:
            raise RunError(
                f"{self.config_path}: expected JSON, got {error}; restore it, or choose another "
                "folder with --out"
            ) from error
        if not isinstance(config, dict) or not config.keys() >= CONFIG_KEYS:
            raise RunError(f"{self.config_path}: expected the configuration of a run")
        return config

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
        write_json(self.config_path, marked(self.read_config() | dict(found)))

    def write_checkpoint(
        self, checkpoint: Mapping[str, Any], history: History, which: Which = "last"
    ) -> None:
        """Write the history and then the checkpoint, each whole or not at all."""
        write_whole(self.history_path, _csv(history))
        buffer = io.BytesIO()
        torch.save(_interned(dict(checkpoint)), buffer)
        write_whole(self.checkpoint_paths[which], buffer.getvalue())

    def read_checkpoint(self, which: Which = "last") -> dict[str, Any] | None:
        """Read a checkpoint, tensors in main memory and plain values; None if there is none.

        Raises:
            RunError: It is truncated, corrupt or not a checkpoint.
        """
        path = self.checkpoint_paths[which]
        if not path.exists():
            return None
        try:
            _check_sums(path)
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        except _DAMAGED as error:
            raise RunError(
                f"{path} cannot be read: it is truncated or corrupt; restore it, "
                "or train again with --force"
            ) from error
        if not isinstance(checkpoint, dict) or not checkpoint.keys() >= CHECKPOINT_KEYS:
            raise RunError(f"{path}: expected a checkpoint of a run")
        return checkpoint

    def read_history(self, until_step: int, num_rows: int) -> History:
        """Read the rows of ``history.csv`` up to a step, column by column.

        Raises:
            RunError: The file is missing, is not a table of numbers, or has not so many rows.
        """
        if until_step == 0:
            return {}
        try:
            with self.history_path.open(newline="") as file:
                names, *rows = csv.reader(file)
            step = names.index("step")
            rows = [row for row in rows if int(row[step]) <= until_step]
            if len(rows) != num_rows:
                raise RunError(
                    f"{self.history_path}: expected {num_rows} rows up to step {until_step}, "
                    f"got {len(rows)}"
                )
            columns = list(zip(*rows, strict=True))
            return {
                name: [float(value) if value else np.nan for value in column]
                for name, column in zip(names, columns, strict=True)
            }
        except (OSError, ValueError, IndexError, csv.Error) as error:
            raise RunError(
                f"{self.history_path}: expected a table with a row a step, got {error!r}"
            ) from error

    def read_metrics(self) -> dict[str, Any]:
        """Read ``metrics.json``; empty where there is none, or none that can be read."""
        try:
            metrics = read_json(self.metrics_path)
        except (OSError, ValueError, RecursionError):
            return {}
        return metrics if isinstance(metrics, dict) else {}

    def write_metrics(self, metrics: Mapping[str, Any]) -> Path:
        """Write ``metrics.json``, in place of what it held."""
        write_json(self.metrics_path, metrics)
        return self.metrics_path

    def write_resources(self, resources: Mapping[str, Any]) -> None:
        """Write ``resources.json``: what the last stretch of training took."""
        write_json(self.resources_path, resources)

    def _remove_run(self) -> None:
        """Remove all but ``config.json``, which the next run writes over."""
        files = [*self.checkpoint_paths.values(), self.history_path, self.tensors_path]
        files += [self.metrics_path, self.resources_path]
        pictures = [self.plots_path / name for name in PICTURES]
        for path in (*files, *map(unfinished, files), *pictures):
            path.unlink(missing_ok=True)


def temporary_folder() -> RunFolder:
    """A new run folder among the system's temporary files, removed once nothing holds it."""
    path = Path(tempfile.mkdtemp(prefix="pyro-decomp-"))
    folder = RunFolder(path)
    folder.note = f"the run is in {path} for as long as it is used (give out=... to keep it)"
    folder._removal = weakref.finalize(folder, shutil.rmtree, path, ignore_errors=True)
    return folder


def _check_sums(path: Path) -> None:
    """Compare every record with its checksum, which ``torch.load`` does not."""
    with zipfile.ZipFile(path) as records:
        damaged = records.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(damaged)


def _interned(value: Any) -> Any:
    """Make equal strings in a value one object, so that pickle gives the same bytes.

    Pickle writes an object that it has seen as a reference, but an equal one in full: without
    this, what was loaded and saved again would differ in bytes.
    """
    if type(value) is str:
        return sys.intern(value)
    if isinstance(value, list | tuple):
        return type(value)(map(_interned, value))
    if isinstance(value, dict):
        interned = copy.copy(value)  # keeps the versions that a module notes on its state
        interned.clear()
        interned.update((_interned(k), _interned(v)) for k, v in value.items())
        return interned
    return value


def _csv(history: History) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(history)
    for row in zip(*history.values(), strict=True):
        writer.writerow(
            [
                int(v) if name in ("step", "epoch") else "" if math.isnan(v) else repr(v)
                for name, v in zip(history, row, strict=True)
            ]
        )
    return out.getvalue().encode()
