"""Terms over pairs with their gradients, against the expressions that hold all pairs."""

from collections.abc import Iterator
from functools import partial

import mmd
import pairwise
from timing import Comparison, in_turns

from comparisons import Effort

BASELINE = "as the formula stands"


def terms(effort: Effort) -> Iterator[Comparison]:
    """Those of the aggregate posterior, and the maximum mean discrepancies."""
    for case in pairwise.CASES:
        if case.baseline is None or (effort.is_quick and case.batch > 500):
            continue
        actions = {
            "package": partial(pairwise.gradients, case, case.ways[0]),
            BASELINE: partial(pairwise.gradients, case, "baseline"),
        }
        seconds = in_turns(actions, effort.turns)
        what = f"{case.name}, B = {case.batch}, D = {case.dim}"
        yield Comparison(what, "package", BASELINE, *seconds.values())
    batch, dim = (16, 2) if effort.is_quick else (500, 50)
    inputs = mmd.samples(batch, dim)
    for name in ("dimensionwise_mmd",):
        actions = {each: partial(mmd.run, each, *inputs) for each in (name, "straightforward")}
        seconds = in_turns(actions, min(effort.turns, 5))
        what = f"MMD a dimension, B = {batch}, D = {dim}"
        yield Comparison(what, "package", BASELINE, *seconds.values())
