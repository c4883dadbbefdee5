"""Run folders as they would be of a run with another configuration, or of an older version."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyro_decomp.training.run_files.run_folder import RunFolder


def edit_config(folder: Path | str, changes: Mapping[str, Any]) -> None:
    """Have a run folder be one of a run with these keys of its ``config.json``."""
    run = RunFolder(folder)
    config, checkpoint = run.read_config(), run.read_checkpoint()
    assert checkpoint is not None
    history = run.read_history(checkpoint["step"], checkpoint["rows"])
    run._write_config(config | changes)
    run.write_checkpoint(checkpoint, history)


def without_digest(path: Path) -> dict[str, Any]:
    """Have a file of JSON be one from before there were digests; its contents, marked."""
    contents: dict[str, Any] = json.loads(path.read_text())
    del contents["digest"], contents["format"]
    path.write_text(json.dumps(contents))
    return contents


def of_source(text: str) -> dict[str, str]:
    """The keys of a ``config.json`` that keep a text."""
    return {"source": text, "source_sha256": hashlib.sha256(text.encode()).hexdigest()}
