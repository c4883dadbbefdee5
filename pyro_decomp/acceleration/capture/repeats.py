"""Whether programs compute the same at every run, or keep something that moves."""

import random
import warnings
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_decomp.acceleration.errors import CaptureError
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.programs.program_state import Fingerprint
from pyro_decomp.programs.program_state.modules import tensors_kept


class WrittenOnlyWarning(UserWarning):
    """Steps that do not run the programs leave a tensor that these write as it is."""


def refuse_moving(source: StepSource) -> None:
    """Refuse what the check before training has seen moving, without another run of the programs.

    A further run would move on what cannot be taken back, such as a generator function.

    Args:
        source: Whose ``python`` knows what every run moves.

    Raises:
        CaptureError: Something moves that is no tensor.
    """
    _refuse([path for path, kind in source.python.moving.items() if kind == "value"])


def tensors_that_move(source: StepSource, batch: Sequence[Tensor]) -> list[str]:
    """Run the programs until they have filled their caches, and see what another run moves.

    Args:
        source: Whose programs. Buffers of its networks are as before afterwards; what the programs
            keep in Python is moved, as are random generators.
        batch: A batch of data.

    Returns:
        Dotted paths of tensors that every run assigns anew or writes to.

    Raises:
        CaptureError: They keep something else that moves, or draw from Python's or numpy's
            generator: what a run reads of it would be a constant.
    """
    objective = partial(_objective, source, batch)
    noise = torch.get_rng_state()
    first = objective(noise)
    moved = source.python.moved_by(lambda: objective(torch.Generator().manual_seed(1).get_state()))
    for name in ("random", "numpy.random"):
        moved.pop(name, None)  # told by what is computed below: a check of types draws too
    _refuse([path for path, kind in moved.items() if kind != "tensor"])
    random.random()
    np.random.rand()
    again = objective(noise)
    if not torch.equal(first, again) and not bool(again.isnan()):
        by = "something that cannot be found, such as Python's or numpy's random numbers"
        if moved:
            by = f"the tensor {listed(list(moved))}, which every run changes"
        raise CaptureError(
            f"Python decides what the programs compute, otherwise at every run, by {by} (make it "
            "a schedule, or a buffer of a network)"
        )
    return list(moved)


def check_unread(paths: Sequence[str], before: Fingerprint, recorded: GraphModule) -> None:
    """Refuse tensors that move and are read; warn of those that are only written.

    Args:
        paths: Of tensors that every run moves.
        before: What the programs kept when they were recorded.
        recorded: What they computed; tensors that they found are constants in it.

    Raises:
        CaptureError: One is read, and would be a constant.
    """
    constants = {_memory(constant) for constant in recorded.buffers()}
    tensors = {path: before.tensor(path) for path in paths}
    read = [p for p, each in tensors.items() if each is not None and _memory(each) in constants]
    if read:
        raise CaptureError(
            f"every run of the programs changes the tensor {listed(read)} and reads it (register "
            "it as a buffer of a network)"
        )
    for path in paths:
        warnings.warn(
            f"{path} is a tensor that the programs write and do not read: steps that do not run "
            "them leave it as it is (--steps eager would not)",
            WrittenOnlyWarning,
            stacklevel=2,
        )


def _objective(
    source: StepSource,
    batch: Sequence[Tensor],
    noise: Tensor,
) -> Tensor:
    torch.set_rng_state(noise)
    with tensors_kept(source.modules), torch.no_grad():
        return source.evaluate(*batch).objective


def _refuse(paths: Sequence[str]) -> None:
    if paths:
        raise CaptureError(
            f"Python decides what the programs compute: every run changes {listed(paths)} (make "
            "it a schedule, or a buffer of a network)"
        )


def listed(paths: Sequence[str]) -> str:
    """The first three paths in words, and how many more there are."""
    rest = len(paths) - 3
    return " and ".join(paths[:3]) + (f" and {rest} more" if rest > 0 else "")


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
