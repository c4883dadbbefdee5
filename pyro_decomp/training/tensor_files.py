"""Files of tensors and plain values with a digest, read without executing anything."""

import copy
import io
import pickle
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pyro_decomp.errors import RunError
from pyro_decomp.training.checked_files import check_digest, facts_of, write_with_digest
from pyro_decomp.training.json_files import regular


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
    try:
        check_records(path, sums=not check_digest(path))
        value = torch.load(path, map_location=device, weights_only=True)
        return value, facts_of(path)
    except Exception as error:  # a damaged file makes torch raise whatever there is
        raise RunError(f"{path} cannot be read: {_reason(error)} ({remedy})") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "there is not enough memory for it"
    if isinstance(error, pickle.UnpicklingError):
        return "it is damaged, or holds other things than tensors and plain values"
    return "it is truncated or corrupt"


def check_records(path: Path, *, sums: bool = False) -> None:
    """Check that the records of a file are as long as they say, and maybe their checksums.

    Raises:
        OSError: It cannot be read.
        ValueError: They say that they are longer than the file, or are compressed.
        zipfile.BadZipFile: One is damaged.
    """
    regular(path)
    with zipfile.ZipFile(path) as records:
        infos = records.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ValueError("compressed records")
        if sum(info.file_size for info in infos) > path.stat().st_size:
            raise ValueError("records that are longer than the file")
        damaged = records.testzip() if sums else None
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
