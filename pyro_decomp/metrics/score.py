"""What every metric returns: a value, its interval, and all that it depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Score:
    """A metric's value.

    Attributes:
        name: The metric, as its function is called.
        value: The score of these rows (the plug-in value, as papers print it), in the unit that
            the function's documentation names.
        interval: 95 % confidence interval for the population's value; None where there is none.
        variant: All that the value depends on beside the data: estimator, bins, number of rows,
            factors used, dimensions pruned, seed. Two scores compare only where these agree.
        details: Arrays that the value was made from, such as ``mutual_information`` [d, k].
        corrected: The value less its bias (:func:`.bootstrap.interval`), which lies within the
            interval; the value itself where no correction is known. None where there is no
            interval.
        no_interval: Why there is no interval; None where there is one.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None
    variant: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    corrected: float | None = None
    no_interval: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The score in plain values: arrays are lists, and what is not finite is None."""
        return {
            "name": self.name,
            "value": _plain(self.value),
            "interval": _plain(self.interval),
            "variant": _plain(self.variant),
            "details": _plain(self.details),
            "corrected": _plain(self.corrected),
            "no_interval": self.no_interval,
        }


def _plain(value: Any) -> Any:
    """``value`` in the types of JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset | range):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
