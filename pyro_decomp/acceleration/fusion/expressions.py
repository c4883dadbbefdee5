"""C expressions of the numbers of values at the same index."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from pyro.distributions.util import broadcast_shape

from pyro_decomp.acceleration.fusion.indexing import Index
from pyro_decomp.acceleration.fusion.values import Expression, Kind, Number, Reader, Value, literal
from pyro_decomp.acceleration.fusion.views import expanded

# What C functions cost, in additions; those with a trailing _ are defined in prelude.h.
SLOW, DIVISION = 12, 4
_COSTS = dict.fromkeys(("exp_", "expm1_", "log_", "log1p_", "sin_", "cos_", "tanh_", "erf_"), SLOW)
_COSTS |= {"pow_": 2 * SLOW, "lgamma_": 10 * SLOW, "rsqrt_": 2 * DIVISION}
_COSTS |= {"sqrt_": DIVISION, "/": DIVISION}


def computed(text: str, *given: Any, kind: Kind = "real") -> Value:
    """C expressions of the numbers of values that are broadcast.

    ``{0}`` stands for the first value. Expressions that are separated by ";" are computed one after
    another, and the result of the first is a value after the last that is given. A function that
    is slow has an expression of its own: inside of ``?:`` it would not be called for vectors.

    Args:
        text: The expressions.
        *given: Values and Python's numbers.
        kind: Of the result of the last one.
    """
    values = [value_of(each) for each in given]
    *before, last = text.split(";")
    for part in before:
        values.append(_expression(part, values, "real" if kind == "bool" else kind))
    return _expression(last, values, kind)


def value_of(given: Any) -> Value:
    """A value, or a Python number as one."""
    if isinstance(given, Value):
        return given
    kind: Kind = "real" if isinstance(given, float) else "int64_t"
    if isinstance(given, bool):
        kind = "bool"
    return Number((), kind, literal(given, kind))


def converted(value: Value, kind: Kind) -> Value:
    """The numbers of a value in another C type."""
    if value.kind == kind:
        return value
    return computed("{0} != 0" if kind == "bool" else f"({kind}){{0}}", value, kind=kind)


def _expression(text: str, values: Sequence[Value], kind: Kind) -> Value:
    text, cost, places = _parsed(text)
    used = [values[place] for place in places]
    shape = broadcast_shape(*(value.shape for value in used))
    operands = [expanded(value, shape) for value in used]
    numbers = [value.text for value in operands if isinstance(value, Number)]
    if len(numbers) == len(operands):  # left to the compiler
        return Number(shape, kind, f"(({kind})({text.format(*numbers)}))")

    def at(index: Index, reader: Reader) -> str:
        return text.format(*(reader.of(each, index) for each in operands))

    return Expression(shape, kind, at, operands=operands, cost=cost)


@cache
def _parsed(text: str) -> tuple[str, int, list[int]]:
    """An expression of no more than the values that it uses, its cost, and which these are."""
    text = text.strip()
    used = sorted({int(number) for number in re.findall(r"{(\d+)}", text)})
    found = [_COSTS.get(each, 1) for each in re.findall(r"\w+_(?=\()|/", text)]
    cost = 0 if text == "{0}" else max(found, default=1)
    return re.sub(r"{(\d+)}", lambda m: f"{{{used.index(int(m[1]))}}}", text), cost, used
