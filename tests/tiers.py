"""Which tests run when: `fast` always, `full` before a change lands, `slow` in `.ci/run`.

A test is of the tier whose mark is nearest: its row's, else its own, else its file's
(``pytestmark = pytest.mark.full``), else `fast`. A mark may leave some rows of a table fast, by the
ids that pytest prints: ``@pytest.mark.full(but=["VAE"])``.
"""

from collections import defaultdict
from collections.abc import Iterable

import pytest

TIERS = ("fast", "full", "slow")


def tier_of(item: pytest.Item) -> str:
    """The tier of a collected test."""
    row = item.callspec.marks if hasattr(item, "callspec") else []
    for marks in (row, *(node.own_markers for node in reversed(item.listchain()))):
        for tier in reversed(TIERS):  # the rows of two tables may have a mark each: the slower's
            for mark in marks:
                if mark.name == tier:
                    return "fast" if _row(item) in mark.kwargs.get("but", ()) else tier
    return "fast"


def unknown_rows(items: Iterable[pytest.Item]) -> dict[str, set[str]]:
    """By function, the rows that its mark leaves fast and that its table does not have."""
    named, found = defaultdict(set), defaultdict(set)
    for item in items:
        function = item.nodeid.partition("[")[0]
        found[function].add(_row(item))
        for tier in TIERS:
            for mark in item.iter_markers(tier):
                named[function].update(mark.kwargs.get("but", ()))
    return {name: rows - found[name] for name, rows in named.items() if rows - found[name]}


def _row(item: pytest.Item) -> str:
    return item.callspec.id if hasattr(item, "callspec") else ""
