"""Files of tensors and plain values with a digest, read without executing anything."""

import copy
import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pyro_decomp.errors import RunError
from pyro_decomp.training.run_files.checked_files import check_archive, write_with_digest


def write_tensors(path: Path, value: Any, facts: Mapping[str, Any]) -> None:
    """Write a value as ``torch.save`` does, with facts in JSON's types, whole or not at all."""
    archive = io.BytesIO()
    torch.save(_interned(value), archive)
    write_with_digest(path, archive, facts)


def read_tensors(
    path: Path, remedy: str, device: str | None = "cpu"
) -> tuple[Any, dict[str, Any] | None]:
    """Read a value and its facts; None for those of older versions.

    Args:
        path: The file.
        remedy: What to do where it cannot be used, in words.
        device: Where to put the tensors; None for where each was.

    Raises:
        RunError: It cannot be read, is damaged, or holds other things than tensors and plain
            values, of which nothing was executed.
    """
    facts = check_archive(path, remedy)
    try:
        return torch.load(path, map_location=device, weights_only=True), facts
    except Exception as error:  # a damaged file makes torch raise whatever there is
        why = "it holds other things than tensors and plain values"
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            why = "there is not enough memory for it"
        raise RunError(f"{path} cannot be read: {why} ({remedy})") from error


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
