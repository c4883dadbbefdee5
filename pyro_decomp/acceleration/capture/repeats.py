"""Whether what is traced once holds at every step. Internal."""

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_decomp.acceleration.capture.functional_state import FunctionalState
from pyro_decomp.acceleration.capture.tracing import memory_of
from pyro_decomp.acceleration.errors import CaptureError
from pyro_decomp.acceleration.source import StepSource
from pyro_decomp.elbo.numbers import full_name
from pyro_decomp.errors import listed
from pyro_decomp.programs.program_state import Fingerprint
from pyro_decomp.programs.program_state.modules import tensors_kept
from pyro_decomp.seeds import random_state, set_random_state

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-10}  # the same operations, but for rounding


class WrittenOnlyWarning(UserWarning):
    """Steps that do not run the programs leave a tensor that these write as it is."""


def refuse_moving(source: StepSource) -> None:
    """Refuse what the check before training has seen moving, without another run of the programs.

    A further run would move on what cannot be taken back, such as a generator function.

    Raises:
        CaptureError: Something moves that is no tensor.
    """
    _refuse([path for path, kind in source.python.moving.items() if kind == "value"])


def tensors_that_move(source: StepSource, batch: Sequence[Tensor]) -> list[str]:
    """Run the programs until they have filled their caches, and see what another run moves.

    Buffers of networks are as before afterwards; what the programs keep in Python is moved, as are
    random generators.

    Returns:
        Dotted paths of tensors that every run assigns anew or writes to.

    Raises:
        CaptureError: They keep something else that moves, or draw from Python's or numpy's
            generator: what a run reads of it would be a constant.
    """

    def objective(noise: Tensor) -> Tensor:
        torch.set_rng_state(noise)
        with tensors_kept(source.modules), torch.no_grad():
            return source.evaluate(*batch).objective

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


def check_unread(paths: Sequence[str], before: Fingerprint, module: GraphModule) -> None:
    """Refuse tensors that move and are read; warn of those that are only written.

    What they kept when they were traced is in ``before``; tensors that they found are constants of
    the graph.

    Raises:
        CaptureError: One is read, and would be a constant.
    """
    constants = {memory_of(constant) for constant in module.buffers()}
    tensors = {path: before.tensor(path) for path in paths}
    read = [p for p, each in tensors.items() if each is not None and memory_of(each) in constants]
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


def is_followed(
    source: StepSource,
    state: FunctionalState,
    inputs: Sequence[Tensor],
    *,
    step: Callable[..., Sequence[Tensor]],
    graph: Callable[..., Sequence[Tensor]],
) -> bool:
    """Whether a graph gives what the programs give where its numbers are those of later steps.

    A number of which Python or numpy made another, or a new tensor, is a constant of the graph.

    ``inputs`` are what ``step`` was traced with; ``graph`` has draws of its own.
    """
    for values in _later(source, state.weights):
        trained, frozen, buffers, numbers, batch = state.split(inputs)
        pairs = zip(numbers, values, strict=True)
        later = [torch.full_like(number, value) for number, value in pairs]
        given = [*trained, *frozen, *buffers, *later, *batch]
        generators = random_state()
        found = graph(*given)
        set_random_state(generators)
        if not all(map(_is_close, found, step(*given))):
            return False
    return True


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what torch and numpy say of tensors where the programs expect numbers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)
        warnings.filterwarnings("ignore", "__array_wrap__", DeprecationWarning)
        yield


def _refuse(paths: Sequence[str]) -> None:
    if paths:
        raise CaptureError(
            f"Python decides what the programs compute: every run changes {listed(paths)} (make "
            "it a schedule, or a buffer of a network)"
        )


def _later(source: StepSource, weights: Sequence[str]) -> Iterator[list[float]]:
    """The values of numbers in the middle and at the end of the run."""
    programs, total = source.programs, source.programs.total_steps
    schedules = {full_name(name): each for name, each in programs.schedules.items()}
    for step in {(total + 1) // 2, total}:
        yield [
            schedules[full_name(name)].value(step, total)
            if full_name(name) in schedules
            else 1.5 * float(programs.number(name).get())
            for name in weights
        ]


def _is_close(found: Tensor, wanted: Tensor) -> bool:
    if not wanted.is_floating_point() or not wanted.numel():
        return torch.equal(found, wanted)
    tolerance = TOLERANCES.get(wanted.dtype, 1e-2)
    size = float(wanted.detach().abs().nan_to_num(0.0, 0.0, 0.0).max())
    return torch.allclose(found, wanted, rtol=tolerance, atol=tolerance * size, equal_nan=True)
