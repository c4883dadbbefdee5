"""Grids of runs, from the plan to the comparison of members; never how one step is computed.

Names are imported when they are first asked for: to read a table takes no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyro_decomp.sweep.comparison import Combination, Comparison, compare
    from pyro_decomp.sweep.intervals import MeanInterval, mean_interval
    from pyro_decomp.sweep.running import sweep
    from pyro_decomp.sweep.supervisor import Plan, SweepInterrupted, SweepProgress
    from pyro_decomp.sweep.table import read_table

_HOMES = {
    "Combination": "comparison",
    "Comparison": "comparison",
    "MeanInterval": "intervals",
    "Plan": "supervisor",
    "SweepInterrupted": "supervisor",
    "SweepProgress": "supervisor",
    "compare": "comparison",
    "mean_interval": "intervals",
    "read_table": "table",
    "sweep": "running",
}

__all__ = [
    "Combination",
    "Comparison",
    "MeanInterval",
    "Plan",
    "SweepInterrupted",
    "SweepProgress",
    "compare",
    "mean_interval",
    "read_table",
    "sweep",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
