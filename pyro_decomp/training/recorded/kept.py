"""The tensors of a recorded text, in memory or in the file that a run or sweep keeps."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyro_decomp.errors import RunError, unfinished

if TYPE_CHECKING:
    from torch import Tensor

FILE_NAME = "source.pt"
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

        try:
            # mapped: what is only read is in memory once, whatever the number of runs
            tensors = torch.load(self.where, map_location="cpu", weights_only=True, mmap=True)
        except Exception as error:  # whatever a damaged file makes torch raise
            raise RunError(f"{self.where}: expected the tensors of a run, got {error}") from error
        return {NAME: tensors}

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
