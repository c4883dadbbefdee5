"""Metrics of codes and factors, with their intervals and without."""

from collections.abc import Iterator
from functools import partial

import metrics
from timing import Comparison, in_turns

from comparisons import Effort
from pyro_decomp.metrics import report

QUICK_ONES = ("mig", "modularity")


def scores(effort: Effort) -> Iterator[Comparison]:
    """Every metric by itself: what its interval adds."""
    rows = 200 if effort.is_quick else 10_000
    loc, _, factors = metrics.encodings(rows, 10)
    names = QUICK_ONES if effort.is_quick else report(loc[:200], factors[:200], num_resamples=0)
    for name in names:
        actions = {
            "with an interval": partial(report, loc, factors, only=[name]),
            "without": partial(report, loc, factors, only=[name], num_resamples=0),
        }
        seconds = in_turns(actions, min(effort.turns, 3), warm_up=0)
        yield Comparison(f"{name}, n = {rows}, d = 10", *actions, *seconds.values())
