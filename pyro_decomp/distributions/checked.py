"""What the families here share: parameters that are refused in this library's words. Internal."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyro.distributions import TorchDistribution

from pyro_decomp.arguments import refuse


class CheckedDistribution(TorchDistribution):
    """A distribution whose parameters are checked as torch does, and refused by their names.

    Raises:
        ArgumentError: A parameter breaks its constraint, where torch validates distributions.
    """

    def __init__(self, *shapes: Any, validate_args: bool | None = None) -> None:
        try:
            super().__init__(*shapes, validate_args=validate_args)
        except ValueError as error:
            found = re.match(r"Expected parameter (\w+)", str(error))
            if found is None:
                raise
            name = found[1]
            refuse(name, f"values in {self.arg_constraints[name]}", getattr(self, name))


@contextmanager
def broadcast_together(**parameters: Any) -> Iterator[None]:
    """Name the parameters whose shapes do not broadcast against each other.

    Raises:
        ArgumentError: They do not.
    """
    try:
        yield
    except (RuntimeError, ValueError):
        shapes = [tuple(getattr(each, "shape", ())) for each in parameters.values()]
        refuse(", ".join(parameters), "shapes that broadcast", shapes)
