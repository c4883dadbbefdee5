"""Runs of one program with other arguments and seeds, trained as one computation where they can be.

Names are imported when they are first asked for: a `Member` needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyro_decomp.sweep.ensemble.members import Member, Outcome, WorkItem
    from pyro_decomp.sweep.ensemble.planning import plan
    from pyro_decomp.sweep.ensemble.work_items import train_item

__all__ = ["Member", "Outcome", "WorkItem", "plan", "train_item"]

_HOMES = {"plan": "planning", "train_item": "work_items"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'members')}"), name)
