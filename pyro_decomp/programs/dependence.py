"""Which sites of a program depend on which, by Pyro's provenance."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.ops.provenance import get_provenance

from pyro_decomp.programs.program_state import undisturbed
from pyro_decomp.programs.sites import SampleProvenance, sample_sites


def dependencies(
    program: Callable[..., Any], trace: poutine.Trace, *args: Any, **kwargs: Any
) -> dict[str, set[str]]:
    """For each random site of a program, the others that its distribution depends on.

    Direct parents, observed ones among them, seen at the values of the trace. The program is run
    once more to find out, without a trace in random generators, buffers or what it keeps in Python;
    one of fewer than two sites needs no run.

    Args:
        program: The program.
        trace: A trace of it.
        *args: What it takes.
        **kwargs: The same, by name.
    """
    sites = list(sample_sites(trace))
    names = {site["name"] for site in sites}
    if len(names) < 2:
        return {name: set() for name in names}
    run = partial(program, *args, **kwargs)
    with undisturbed([program]), torch.no_grad(), pyro.validation_enabled(False):
        with SampleProvenance():
            # The same values again: not every family can draw while dependence is tracked.
            tracked = poutine.trace(poutine.replay(run, trace=trace)).get_trace()
        return {
            site["name"]: (names & get_provenance(site["fn"].log_prob(site["value"])))
            - {site["name"]}
            for site in sample_sites(tracked)
        }
