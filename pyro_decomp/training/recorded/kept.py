"""The tensors of a recorded text, in memory or in the file that a run or sweep keeps."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pyro_decomp.errors import RunError, one_line, unfinished
from pyro_decomp.training.run_files.checked_files import check_archive

if TYPE_CHECKING:
    from torch import Tensor

FILE_NAME = "source.pt"
REMEDY = "restore it, or give load(path, experiment=...)"
NAME = "_tensors"  # what a recorded text calls them
EXPERIMENT = "experiment"  # what it calls the function
ENTRY = "__experiment__"  # or this, where it has another of that name


@dataclass(frozen=True)
class KeptTensors:
    """Tensors by the key that the text has for them."""

    where: "Mapping[str, Tensor] | Path"

    @classmethod
    def beside(cls, folder: Path) -> "KeptTensors | None":
        """Those that a folder keeps; None if it keeps none."""
        path = folder / FILE_NAME
        return cls(path) if path.exists() else None

    def names(self) -> dict[str, Any]:
        """What the text finds defined: tensors of its own, which it may change.

        Raises:
            RunError: The file cannot be read.
        """
        if not isinstance(self.where, Path):
            return {NAME: {key: tensor.clone() for key, tensor in self.where.items()}}
        import torch  # noqa: PLC0415 (takes seconds)

        check_archive(self.where, REMEDY)
        try:
            # mapped: what is only read is in memory once, whatever the number of runs
            tensors = torch.load(self.where, map_location="cpu", weights_only=True, mmap=True)
            _check(tensors, self.where)
        except Exception as error:  # whatever a damaged file makes torch raise
            raise RunError(
                f"{self.where}: expected the tensors of a run, got {one_line(error)} ({REMEDY})"
            ) from error
        return {NAME: _Named(tensors, self.where)}

    def write(self, folder: Path) -> None:
        """Write them into a folder, whole or not at all; those of a file are not stored twice."""
        path = folder / FILE_NAME
        if isinstance(self.where, Path) and path.exists() and path.samefile(self.where):
            return
        part = unfinished(path)
        try:
            if isinstance(self.where, Path):
                try:
                    os.link(self.where, part)
                except OSError:  # on another disk, or one without links
                    shutil.copyfile(self.where, part)
            else:
                import torch  # noqa: PLC0415 (takes seconds)

                torch.save(dict(self.where), part)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


class _Named(dict[str, Any]):
    """Tensors of a file, which says so where the text asks for another."""

    def __init__(self, tensors: Mapping[str, Any], path: Path) -> None:
        super().__init__(tensors)
        self._path = path

    def __missing__(self, key: str) -> NoReturn:
        raise RunError(
            f"{self._path}: expected the tensors that the run's source uses, found no {key!r} "
            f"({REMEDY})"
        )


def key_of(number: int, tensor: "Tensor") -> str:
    """What a text calls a tensor: its place among all, type, shape and digest."""
    import torch  # noqa: PLC0415 (takes seconds)

    bytes_ = tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy()
    digest = hashlib.blake2b(bytes_.data, digest_size=8).hexdigest()
    return f"{number}: {tensor.dtype} {list(tensor.shape)} {digest}"


_checked: set[tuple[int, ...]] = set()  # files, which the runs of a sweep share


def _check(tensors: "Mapping[str, Tensor]", path: Path) -> None:
    """Hold tensors of a file against their keys, once in a process for as long as it is the same.

    Raises:
        ValueError: One is not what its key says.
    """
    status = path.stat()
    state = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
    if state not in _checked:
        for number, (key, tensor) in enumerate(tensors.items()):
            if key_of(number, tensor) != key:
                raise ValueError(f"another value than that of {key!r}: it is damaged")
        _checked.add(state)
