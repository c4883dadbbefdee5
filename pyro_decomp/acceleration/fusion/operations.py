"""What torch's operations compute, as values."""

from typing import Any

from pyro_decomp.acceleration.fusion.activations import ACTIVATIONS
from pyro_decomp.acceleration.fusion.arithmetic import ARITHMETIC, Operation
from pyro_decomp.acceleration.fusion.reductions import REDUCTIONS
from pyro_decomp.acceleration.fusion.refusal import FusionError
from pyro_decomp.acceleration.fusion.shapes import SHAPES

OPERATIONS: dict[Any, Operation] = ARITHMETIC | ACTIVATIONS | REDUCTIONS | SHAPES


def operation(target: Any) -> Operation:
    """What gives the value of an operation from its arguments, :class:`Value` in place of tensors.

    Raises:
        FusionError: It is not written as C; so does what is given, for some arguments.
    """
    try:
        return OPERATIONS[target]
    except KeyError:
        raise FusionError(f"{target} is not written as C") from None
