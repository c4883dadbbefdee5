"""Operators of the package that are C functions already, called from fused steps."""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch

from pyro_decomp.acceleration.fusion.refusal import FusionError
from pyro_decomp.acceleration.fusion.values import Call, Result, Shape, Value
from pyro_decomp.aggregate_posterior import gaussian, gaussian_native
from pyro_decomp.aggregate_posterior.native.library import why_not

Address = Callable[[Any], str]
"""Gives the name of a pointer to an object of ctypes, which is kept."""


def call(target: Any, given: Sequence[Any], real: torch.dtype, address: Address) -> Any:
    """What an operator gives, as values; None if it is no such operator.

    Raises:
        FusionError: Its code could not be compiled.
    """
    if target is gaussian.forward:
        return _log_densities(given, real, address)
    if target is gaussian.backward:
        return _log_densities_backward(given, real, address)
    return None


def _log_densities(given: Sequence[Any], real: torch.dtype, address: Address) -> Result:
    inputs, asked = given[:4], given[4:7]
    code, problem = _code(real), _problem(inputs, asked)
    pointer, start = address(problem), _function(address(code.forward), 5)
    units = code.forward_units(problem)

    def write(read: Sequence[str], written: Sequence[str]) -> str:
        arguments = [pointer, "0", str(units), *_with_null(read, inputs), *written]
        return f"failed |= {start}({', '.join(arguments)});"

    shape = (problem.num_sets, inputs[0].shape[1])
    return _call(inputs, write, [shape])[0]


def _log_densities_backward(
    given: Sequence[Any], real: torch.dtype, address: Address
) -> Sequence[Result]:
    inputs, asked, with_z = given[:6], given[6:9], given[9]
    code, problem = _code(real), _problem(inputs[:4], asked)
    pointer, start = address(problem), _function(address(code.backward), 9)
    units = code.backward_units(problem)
    z, loc = inputs[0].shape, inputs[1].shape

    def write(read: Sequence[str], written: Sequence[str]) -> str:
        to_z, *others = written
        clear = f"memset({to_z}, 0, {z[0] * z[1]} * sizeof(real)); " if with_z else ""
        to_z = to_z if with_z else "NULL"
        arguments = [pointer, "0", str(units), *_with_null(read, inputs), to_z, *others]
        return f"{clear}failed |= {start}({', '.join(arguments)});"

    return _call(inputs, write, [z if with_z else (z[0], 0), loc, loc])


def _with_null(read: Sequence[str], inputs: Sequence[Value | None]) -> Sequence[str]:
    """The inputs by name, NULL in the place of weights of rows that there are none of."""
    return [*read[:3], "NULL", *read[3:]] if inputs[3] is None else read


def _call(
    inputs: Sequence[Value | None],
    write: Callable[[Sequence[str], Sequence[str]], str],
    shapes: Sequence[Shape],
) -> Sequence[Result]:
    arguments = [value for value in inputs if value is not None]
    return Call((), "real", arguments, write, shapes).results


def _function(pointer: str, numbers: int) -> str:
    """A pointer as a function of a problem, where to begin and end, and tensors."""
    kinds = ["const void *", "int64_t", "int64_t", *["const real *"] * numbers]
    return f"((int (*)({', '.join(kinds)})){pointer})"


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
