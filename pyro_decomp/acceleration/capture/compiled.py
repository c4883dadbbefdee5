"""A captured graph compiled to machine code by torch's own compiler."""

import copy
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
from torch import Tensor
from torch.fx import GraphModule

from pyro_decomp.aggregate_posterior.native import code_cache

KEPT_IN = "TORCHINDUCTOR_CACHE_DIR"
Program = Callable[..., Sequence[Tensor]]

_log = logging.getLogger(__name__)


def compiled(module: GraphModule, inputs: Sequence[Tensor]) -> Program:
    """A graph as machine code, for inputs of these shapes, types and memory formats.

    Raises:
        RuntimeError: The compiler failed, or others can write to where torch keeps what it made.
    """
    if reason := _why_unsafe():
        raise RuntimeError(reason)
    with _quiet():
        import torch._inductor.config as settings  # noqa: PLC0415 (takes a second)

    # A pool of compiling processes would take longer to start than one graph takes to compile.
    with settings.patch(compile_threads=1), torch.no_grad(), _quiet():
        program: Program = torch._inductor.compile(copy.deepcopy(module), list(inputs))
        program(*inputs)
    return program


def example_inputs(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Inputs that share no memory with the run's, as a trial call must change nothing."""
    return [tensor.clone() for tensor in inputs]


@cache
def unavailable_reason(device_type: str) -> str:
    """What is missing to compile for a device, logged once; empty if nothing is."""
    reason = _missing(device_type)
    if reason:
        _log.warning("steps are not compiled: %s", reason)
    return reason


def _missing(device_type: str) -> str:
    return _why_unsafe() or _missing_tool(device_type)


@cache
def _why_unsafe() -> str:
    """Why others could put code where torch keeps what it compiles; empty if they cannot.

    Its own choice is a name in the system's temporary folder, which another user may have taken,
    and what lies there is executed.
    """
    with _quiet():
        from torch._inductor.runtime import cache_dir_utils  # noqa: PLC0415

    default = cache_dir_utils.default_cache_dir()  # of headers, whatever is named
    for folder, name in {os.environ.get(KEPT_IN, default): KEPT_IN, default: "TMPDIR"}.items():
        if reason := code_cache.why_not_private(Path(folder), name):
            return f"torch would keep what it compiles where others can write: {reason}"
    return ""


def _missing_tool(device_type: str) -> str:
    if device_type == "cpu":
        with _quiet():
            from torch._inductor import cpp_builder, exc  # noqa: PLC0415

        try:
            cpp_builder.get_cpp_compiler()
        except (exc.InvalidCxxCompiler, OSError, RuntimeError):
            return "no C++ compiler was found (g++ or clang++, or name one in CXX)"
        return ""
    if device_type == "cuda":
        from torch.utils._triton import has_triton  # noqa: PLC0415

        return "" if has_triton() else "the package triton, which compiles for a GPU, is missing"
    return f"there is no compiler for {device_type}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what torch says of a GPU's tools where there is no GPU."""
    said_by = logging.getLogger("torch.utils.cpp_extension")
    before = said_by.level
    said_by.setLevel(logging.ERROR)
    try:
        yield
    finally:
        said_by.setLevel(before)
