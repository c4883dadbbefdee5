"""The files of a run: what is in them, and how they are written so that none is ever half there."""

import csv
import io
import json
import math
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyro_decomp.errors import RunError

History = dict[str, list[float]]


class RunFolder:
    """``config.json``, ``history.csv``, ``checkpoint.pt``, ``metrics.json`` and ``plots/``."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.history_path = self.path / "history.csv"
        self.checkpoint_path = self.path / "checkpoint.pt"
        self.metrics_path = self.path / "metrics.json"
        self.plots_path = self.path / "plots"

    def open_new(self, config: Mapping[str, Any], *, force: bool = False) -> None:
        """Make the folder and write its ``config.json``.

        Args:
            config: What the run is, in JSON's types.
            force: Take the place of the run that is there.

        Raises:
            RunError: There is a run and ``force`` is False, or a folder that is no run.
        """
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path}: expected a folder for the run, got a file")
        if self.config_path.exists():
            if not force:
                raise RunError(
                    f"{self.path} already holds a run: continue it with --resume, replace it with "
                    "--force, or choose another folder with --out"
                )
            self._remove_run()
        elif self.path.exists() and any(self.path.iterdir()):
            raise RunError(f"{self.path} holds files but no run: choose another folder with --out")
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config_path, json.dumps(config, indent=2).encode() + b"\n")

    def read_config(self) -> dict[str, Any]:
        """The contents of ``config.json``.

        Raises:
            RunError: There is no run, or its ``config.json`` cannot be read.
        """
        if not self.config_path.exists():
            raise RunError(f"{self.path}: expected a run folder with a config.json, found none")
        try:
            config = json.loads(self.config_path.read_text())
        except (ValueError, OSError) as error:
            raise RunError(f"{self.config_path}: expected JSON, got {error}") from error
        if not isinstance(config, dict) or "arguments" not in config:
            raise RunError(f"{self.config_path}: expected the configuration of a run")
        return config

    def write_checkpoint(self, checkpoint: Mapping[str, Any], history: History) -> None:
        """Write the history and then the checkpoint, each whole or not at all."""
        write_atomically(self.history_path, _csv(history))
        buffer = io.BytesIO()
        torch.save(dict(checkpoint), buffer)
        write_atomically(self.checkpoint_path, buffer.getvalue())

    def read_checkpoint(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        """The last checkpoint, tensors and plain values only; None if none was written yet.

        Raises:
            RunError: It is truncated, corrupt or not a checkpoint.
        """
        if not self.checkpoint_path.exists():
            return None
        try:
            checkpoint = torch.load(self.checkpoint_path, map_location=device, weights_only=True)
        except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
            raise RunError(
                f"{self.checkpoint_path} cannot be read: it is truncated or corrupt; restore it, "
                "or train again with --force"
            ) from error
        if not isinstance(checkpoint, dict) or "step" not in checkpoint:
            raise RunError(f"{self.checkpoint_path}: expected a checkpoint of a run")
        return checkpoint

    def read_history(self, until_step: int) -> History:
        """The rows of ``history.csv`` up to a step, column by column.

        Raises:
            RunError: The file is missing or is not a table of numbers.
        """
        if until_step == 0:
            return {}
        try:
            with self.history_path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            columns = list(rows[0])
            rows = [row for row in rows if int(row["step"]) <= until_step]
            return {
                name: [float(row[name]) if row[name] else np.nan for row in rows]
                for name in columns
            }
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise RunError(
                f"{self.history_path}: expected a table with a row a step, got {error!r}"
            ) from error

    def write_metrics(self, metrics: Mapping[str, Any]) -> Path:
        """Write ``metrics.json``."""
        write_atomically(self.metrics_path, json.dumps(metrics, indent=2).encode() + b"\n")
        return self.metrics_path

    def _remove_run(self) -> None:
        for path in (
            self.checkpoint_path,
            self.history_path,
            self.metrics_path,
            *self.plots_path.glob("*.png"),
            self.config_path,
        ):
            path.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that at any instant either the old or the new content is there, whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
