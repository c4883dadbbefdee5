"""Operators of the package that are C functions already, called from fused steps."""

import ctypes
import math
from collections.abc import Sequence
from typing import Any

import torch

from pyro_decomp.acceleration.errors import FusionError
from pyro_decomp.acceleration.fusion.indexing import Shape
from pyro_decomp.acceleration.fusion.values import Call, Result, Value
from pyro_decomp.aggregate_posterior import gaussian, gaussian_native
from pyro_decomp.aggregate_posterior.native.library import why_not


def called(target: Any, given: Sequence[Any], real: torch.dtype) -> Any:
    """What an operator of the package gives, as values; None if it is no such operator.

    Raises:
        FusionError: Its code could not be compiled.
    """
    if target is gaussian.forward:
        problem = _problem(given[:4], given[4:7])
        shape = problem.num_sets, given[0].shape[1]
        return _call("forward", problem, given[:4], [shape], real)[0]
    if target is gaussian.backward:
        z, loc, with_z = given[0].shape, given[1].shape, given[9]
        shapes = [z if with_z else (z[0], 0), loc, loc]
        problem = _problem(given[:6], given[6:9])
        return _call("backward", problem, given[:6], shapes, real, clear=with_z)
    return None


def _call(
    name: str,
    problem: gaussian_native.Problem,
    inputs: Sequence[Value | None],
    results: Sequence[Shape],
    real: torch.dtype,
    *,
    clear: bool | None = None,
) -> Sequence[Result]:
    """The results of a C function of a problem, where to begin and end, and tensors.

    The first result is added to, or not asked for, as ``clear`` says; if that is None it is written
    to. The fourth input, weights of rows, may be None.
    """
    code = _code(real)
    start, units = getattr(code, name), getattr(code, f"{name}_units")(problem)
    num_tensors = len(inputs) + len(results)
    kinds = ", ".join(["const void *", "int64_t", "int64_t", *["const real *"] * num_tensors])

    def write(kept: Sequence[str], read: Sequence[str], written: Sequence[str]) -> str:
        first, *others = written
        before = ""
        if clear:
            before = f"memset({first}, 0, {math.prod(results[0])} * sizeof(real)); "
        first = "NULL" if clear is False else first
        names = iter(read)
        tensors = ["NULL" if each is None else next(names) for each in inputs]
        arguments = [kept[0], "0", str(units), *tensors, first, *others]
        return f"{before}failed |= ((int (*)({kinds})){kept[1]})({', '.join(arguments)});"

    operands = [value for value in inputs if value is not None]
    return Call((), "real", write, (problem, start), results, operands=operands).results


def _code(real: torch.dtype) -> ctypes.CDLL:
    code = gaussian_native.code_for(real) if real in gaussian_native.MACROS else None
    if code is None:
        raise FusionError(why_not() or "the code for pairs of Gaussians could not be compiled")
    return code


def _problem(inputs: Sequence[Value | None], asked: Sequence[Any]) -> gaussian_native.Problem:
    z, loc, _ = (value.shape for value in inputs[:3] if value is not None)
    num_rows = 0 if inputs[3] is None else inputs[3].shape[0]
    if len(z) != 2:
        raise FusionError("pairs of several mixtures are not written as C")
    weights, ends, split = asked
    shape = (1, z[0], z[1], loc[1])
    steps = (0, 0, 0, 0, num_rows)
    return gaussian_native.described(shape, steps, tuple(weights), tuple(ends), split)
