"""Numbers that are measured each by itself, and the bounds that follow from their definitions.

What fails is left out, and so is a number that breaks a bound; why is said.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyro_decomp.errors import DiskError
from pyro_decomp.training.user_code import sentence

if TYPE_CHECKING:  # torch takes seconds, and tables of numbers do without
    from torch import Tensor

STANDARD_ERROR = "_standard_error"
HALF_WIDTH = 1.96  # standard errors in half of a 95 % confidence interval
LOG_PX = "importance_weighted_log_px"

ERRORS = 6.0  # standard errors by which an estimate may lie beyond its bound
ROUNDING, ROUNDING_OF_DIMENSION = 1e-3, 1e-5  # nats, of sums of log densities
FEWEST = 10  # data whose spread tells the error of a mean over them

NOT_NEGATIVE = (
    "kl",
    "divergence",
    "mutual_information",
    "marginal_kl",
    "total_correlation",
    "dimensionwise_kl",
)
REPORT = "which cannot be: please report"


@contextmanager
def by_itself(left_out: dict[str, str], *names: str) -> Iterator[None]:
    """Measure quantities inside; where that fails, say why of each, and go on after.

    Whatever programs, data or numerics raise is such a reason, lack of memory for one quantity too.
    Ctrl-C is not, nor are warnings that Python was told to raise, or a disk that is full.
    """
    try:
        yield
    except (Warning, DiskError):
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


def hold_numbers(
    numbers: dict[str, float],
    left_out: dict[str, str],
    *,
    size: int,
    log_size: float,
    num_dims: int,
    has_plain_kl: bool = True,
) -> None:
    r"""Take out numbers of a whole set that break a bound by more than their error.

    A KL divergence is at least 0, :math:`0 \le I(x; z) \le \log N` (with weights of the data, their
    entropy), the number of data that share a code is between 1 and N, and :math:`\log p(x)` is at
    least the ELBO, each within 6 standard errors and rounding. The second and third are put back
    on their bound where rounding alone is beyond it.

    Args:
        numbers: In nats, with standard errors as ``<name>_standard_error``.
        left_out: Takes the reason, by name.
        size: N.
        log_size: log N, or the entropy of the weights.
        num_dims: Dimensions of a datum's codes, over which rounding adds up.
        has_plain_kl: Whether ``kl`` is between densities of the same sites, all of them counted.
    """
    rounding = ROUNDING + ROUNDING_OF_DIMENSION * num_dims

    def margin(*names: str) -> float:
        squares = sum(numbers.get(f"{name}{STANDARD_ERROR}", 0.0) ** 2 for name in names)
        return float(ERRORS * squares**0.5 + rounding)

    broken: dict[str, str] = {}
    spread_tells = has_plain_kl and size >= FEWEST
    for name in NOT_NEGATIVE:
        if numbers.get(name, 0.0) < -margin(name) and (name != "kl" or spread_tells):
            broken[name] = f"it is {numbers[name]:.4g} nats, below 0"
    information = numbers.get("mutual_information", 0.0)
    if information > log_size + margin("mutual_information"):
        above = f"{information:.4g} nats, above log N = {log_size:.4g}"
        broken["mutual_information"] = f"it is {above}"
    elif information > log_size:
        numbers["mutual_information"] = log_size
    sharing = numbers.get("effective_sharing", 1.0)
    if "mutual_information" in broken and "effective_sharing" in numbers:
        broken["effective_sharing"] = broken["mutual_information"].replace("it", "I(x; z)", 1)
    elif not math.exp(-rounding) <= sharing <= math.exp(log_size + rounding):
        broken["effective_sharing"] = f"it is {sharing:.4g}, not between 1 and {size}"
    elif "effective_sharing" in numbers:
        numbers["effective_sharing"] = min(max(sharing, 1.0), math.exp(log_size))
    if {LOG_PX, "elbo"} <= numbers.keys() and spread_tells and "global_kl" not in numbers:
        below = numbers["elbo"] - numbers[LOG_PX]
        if below > margin(LOG_PX, "elbo"):
            broken[LOG_PX] = f"it is {below:.4g} nats below the ELBO"
    for name, reason in broken.items():
        numbers.pop(name)
        numbers.pop(f"{name}{STANDARD_ERROR}", None)
        left_out[name] = f"{reason}, {REPORT}"
