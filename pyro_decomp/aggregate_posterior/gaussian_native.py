"""The C code for pairs of Gaussians, called on tensors of the CPU in several threads (internal)."""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from pyro_decomp.aggregate_posterior.native.library import library

SOURCE = Path(__file__).with_name("gaussian_pairs.c")
MACROS: dict[torch.dtype, tuple[str, ...]] = {torch.float32: (), torch.float64: ("DOUBLE",)}
LEAST_WORK = 2**21  # pairs times dimensions that are worth a thread

Inputs = tuple[
    Float[Tensor, "*k d s"],
    Float[Tensor, "*k d m"],
    Float[Tensor, "*k d m"],
    Float[Tensor, "*k _ m"] | None,  # weights of rows
]
Asked = tuple[Sequence[float], Sequence[int], bool]  # weights (other, own, following), ends, split


class Problem(ctypes.Structure):
    """What a call of the C code is told beside tensors: the fields, in order, of its source."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("members", "dims", "samples", "components")),
        *((name, ctypes.c_int64) for name in ("z_step", "loc_step", "scale_step")),
        *((name, ctypes.c_double) for name in ("other", "own", "following")),
        ("ranges", ctypes.POINTER(ctypes.c_int64)),
        *((name, ctypes.c_int64) for name in ("num_ranges", "split", "rows_step", "num_rows")),
    )

    @property
    def num_sets(self) -> int:
        """The number of densities of a sample."""
        return 1 + self.num_ranges + self.dims if self.split else 1

    @property
    def shares(self) -> int:
        """The number of threads that the problem is worth."""
        pairs = self.members * self.samples * self.components
        return num_shares(pairs * self.dims * (4 if self.split else 1), LEAST_WORK)


def compiled(inputs: Inputs) -> ctypes.CDLL | None:
    """The C code for these tensors; None where it cannot serve them, or could not be compiled."""
    dtype = inputs[0].dtype
    for x in inputs:
        if x is None:
            continue
        if x.dtype != dtype or not x.is_cpu or not x.numel():
            return None
    return code_for(dtype) if dtype in MACROS else None


def forward(code: ctypes.CDLL, inputs: Inputs, asked: Asked) -> Float[Tensor, "*k j s"]:
    """Compute :func:`pyro_decomp.aggregate_posterior.gaussian.log_densities` by the C code."""
    kept, problem = _problem(inputs, asked)
    z = inputs[0]
    out = z.new_empty(*z.shape[:-2], problem.num_sets, z.shape[-1])

    def share(_: int, begin: int, end: int) -> int:
        read = _addresses(kept)
        return code.forward(problem, begin, end, *read, out.data_ptr())

    run_split(share, code.forward_units(problem), problem.shares)
    return out


def backward(
    code: ctypes.CDLL,
    inputs: Inputs,
    asked: Asked,
    out: Float[Tensor, "*k j s"],
    grad: Float[Tensor, "*k j s"],
    *,
    with_z: bool,
) -> tuple[Float[Tensor, "*k d _"], Float[Tensor, "*k d m"], Float[Tensor, "*k d m"]]:
    """Compute gradients by z (of no samples unless ``with_z``), loc and scale by the C code."""
    kept, problem = _problem(inputs, asked)
    z, loc, *_ = inputs
    shares = problem.shares
    kept += [out.contiguous(), grad.contiguous()]
    grads = loc.new_empty(loc.shape), loc.new_empty(loc.shape)
    grads_z = z.new_zeros(shares, *z.shape) if with_z else z.new_empty(1, *z.shape[:-1], 0)

    def share(number: int, begin: int, end: int) -> int:
        to_z = grads_z[number].data_ptr() if with_z else None
        read, write = _addresses(kept), _addresses(grads)
        return code.backward(problem, begin, end, *read, to_z, *write)

    run_split(share, code.backward_units(problem), shares)
    return grads_z.sum(0) if shares > 1 and with_z else grads_z[0], *grads


def _addresses(tensors: Sequence[Tensor | None]) -> list[int | None]:
    return [None if x is None else x.data_ptr() for x in tensors]


def _problem(inputs: Inputs, asked: Asked) -> tuple[list[Tensor | None], Problem]:
    """The inputs as the C code reads them, and the rest of the question."""
    weights, ends, split = asked
    kept, steps = zip(*map(_members, inputs), strict=True)
    rows = inputs[3]
    steps += (0 if rows is None else rows.shape[-2],)
    shape = (inputs[0].shape[:-2].numel(), *inputs[0].shape[-2:], inputs[1].shape[-1])
    return list(kept), described(shape, steps, tuple(weights), tuple(ends), split)


@lru_cache(maxsize=256)
def described(
    shape: tuple[int, ...],
    steps: tuple[int, ...],
    weights: tuple[float, ...],
    ends: tuple[int, ...],
    split: bool,
) -> Problem:
    """Make a problem of members, D, S, M; of steps between members and rows; of what is asked."""
    ranges = (ctypes.c_int64 * len(ends))(*ends)
    of_values, of_rows = steps[:3], steps[3:]
    return Problem(*shape, *of_values, *weights, ranges, len(ends) // 2, split, *of_rows)


def _members(x: Float[Tensor, "*k d n"] | None) -> tuple[Tensor | None, int]:
    """A contiguous tensor, and the step from one member to the next: 0 if all are the same."""
    if x is None:
        return None, 0
    if x.dim() == 3 and x.stride(0) == 0:
        return x[0].contiguous(), 0
    return x.contiguous(), x.shape[-2] * x.shape[-1]


@cache
def code_for(dtype: torch.dtype) -> ctypes.CDLL | None:
    """The C code for numbers of a type; None where it could not be compiled."""
    code = library(SOURCE, *MACROS[dtype])
    if code is not None:
        problem, whole, pointer = ctypes.POINTER(Problem), ctypes.c_int64, ctypes.c_void_p
        signatures: dict[str, list[Any]] = {
            "forward_units": [problem],
            "backward_units": [problem],
            "forward": [problem, whole, whole, *[pointer] * 5],
            "backward": [problem, whole, whole, *[pointer] * 9],
        }
        for name, arguments in signatures.items():
            function = getattr(code, name)
            function.argtypes = arguments
            function.restype = whole if name.endswith("units") else ctypes.c_int
    return code


def num_shares(work: int, least: int) -> int:
    """Into how many shares work is cut: one a thread of torch, each at least ``least`` large."""
    return max(1, min(torch.get_num_threads(), work // least))


def run_split(function: Callable[[int, int, int], int], units: int, shares: int) -> None:
    """Call ``function(share, begin, end)`` for shares of a range, each in a thread of its own.

    How the range is cut depends on the arguments alone. The function is to be C code, during which
    ctypes lets go of the GIL, and to give 0; it is to keep alive what it reads and writes, as an
    interrupt may leave threads at work.

    Raises:
        MemoryError: A call gave something else.
    """
    ends = [units * share // shares for share in range(shares + 1)]
    first, *others = zip(range(shares), ends[:-1], ends[1:], strict=True)
    elsewhere = [_pool(os.getpid()).submit(function, *call) for call in others]
    results = [function(*first), *(future.result() for future in elsewhere)]
    if any(results):
        raise MemoryError("sums over pairs: no memory for a block of them")


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """Threads of this process: a fork does not inherit them."""
    return ThreadPoolExecutor(thread_name_prefix=f"pyro_decomp-{process}")
