"""Operators of the package that are C functions already, called from fused steps."""

import ctypes
import math
from collections.abc import Callable, Sequence
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

        def shape(num_sets: int) -> Sequence[Shape]:
            return [(num_sets, given[0].shape[1])]

        return _call("forward", given[:4], given[4:7], real, shape)[0]
    if target is gaussian.backward:
        z, loc, with_z = given[0].shape, given[1].shape, given[9]
        shapes = [z if with_z else (z[0], 0), loc, loc]
        return _call("backward", given[:6], given[6:9], real, lambda _: shapes, clear=with_z)
    return None


def _call(
    name: str,
    inputs: Sequence[Value | None],
    asked: Sequence[Any],
    real: torch.dtype,
    shapes: Callable[[int], Sequence[Shape]],
    *,
    clear: bool | None = None,
) -> Sequence[Result]:
    """The results of a C function of a problem, where to begin and end, and tensors.

    Args:
        name: Of the function.
        inputs: What it reads; the fourth, weights of rows, may be None.
        asked: What it is asked for besides.
        real: The floating type.
        shapes: Of the results, from how many sets of dimensions there are.
        clear: Whether the first result is added to, or not asked for; None if it is written to.
    """
    code, problem = _code(real), _problem(inputs, asked)
    start, units = getattr(code, name), getattr(code, f"{name}_units")(problem)
    results = shapes(problem.num_sets)
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
