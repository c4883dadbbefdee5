"""Numbers that are measured each by itself: what fails is left out, and why is said."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.user_code import sentence

if TYPE_CHECKING:  # torch takes seconds, and tables of numbers do without
    from torch import Tensor

STANDARD_ERROR = "_standard_error"
HALF_WIDTH = 1.96  # standard errors in half of a 95 % confidence interval


@contextmanager
def by_itself(left_out: dict[str, str], *names: str) -> Iterator[None]:
    """Measure quantities inside; where that fails, say why of each, and go on after.

    Whatever programs, data or numerics raise is such a reason, lack of memory for one quantity too.
    Ctrl-C is not, nor are warnings that Python was told to raise.

    Args:
        left_out: Takes the reason, by name.
        names: What is measured.
    """
    try:
        yield
    except (Interrupted, Warning):
        raise
    except Exception as error:
        left_out |= dict.fromkeys(names, sentence(error))


def mean(name: str, values: "Tensor", weights: "Tensor | None" = None) -> dict[str, float]:
    r"""The mean of values under a name, and its standard error where there are two or more.

    :math:`\bar v = \sum_i s_i v_i` with :math:`s_i = w_i / \sum_j w_j`, or 1/n. The standard error
    is :math:`\sqrt{\frac{n}{n-1} \sum_i s_i^2 (v_i - \bar v)^2}`, for equal weights the usual one
    and else that of a ratio.

    Args:
        name: Of the mean; its error is ``<name>_standard_error``.
        values: Independent, ``[n]``.
        weights: How much each counts; None where all count the same.
    """
    if weights is None:
        average = values.mean()
        error = values.std() / len(values) ** 0.5 if len(values) > 1 else None
    else:
        share = weights / weights.sum()
        average = (share * values).sum()
        squares = (share * (values - average)).square().sum()
        counted = int((weights > 0).sum())
        error = (squares * counted / (counted - 1)).sqrt() if counted > 1 else None
    found = {name: average.item()}
    return found if error is None else found | {f"{name}{STANDARD_ERROR}": error.item()}


def keep_finite(numbers: dict[str, float], left_out: dict[str, str]) -> None:
    """Take out numbers that are infinite or not a number, and say so where no reason is known."""
    for name, value in list(numbers.items()):
        if not math.isfinite(value):
            numbers.pop(name, None)
            if not name.endswith(STANDARD_ERROR):
                numbers.pop(f"{name}{STANDARD_ERROR}", None)
                left_out.setdefault(name, f"it is {value}, which is no number to report")
