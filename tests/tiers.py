"""Which tests run when: `fast` always, `full` before a change lands, `slow` in `.ci/run`.

A test is of the tier whose mark is nearest: its row's, else its own, else its file's
(``pytestmark = pytest.mark.full``), else `fast`. A mark may leave some rows of a table fast, by
patterns of the ids that pytest prints: ``@pytest.mark.full(but=["VAE", "beta-*"])``.
"""

from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase

import pytest

TIERS = ("fast", "full", "slow")


def tier_of(item: pytest.Item) -> str:
    """The tier of a collected test."""
    row = item.callspec.marks if hasattr(item, "callspec") else []
    for marks in (row, *(node.own_markers for node in reversed(item.listchain()))):
        for tier in reversed(TIERS):  # the rows of two tables may have a mark each: the slower's
            for mark in marks:
                if mark.name == tier:
                    but = mark.kwargs.get("but", ())
                    return "fast" if any(_is_row(item, pattern) for pattern in but) else tier
    return "fast"


def idle_patterns(items: Iterable[pytest.Item]) -> set[tuple[str, str]]:
    """Of the rows that marks leave fast: functions and patterns that no row of theirs matches."""
    matched: dict[tuple[str, str], bool] = defaultdict(bool)
    for item in items:
        for tier in TIERS:
            for mark in item.iter_markers(tier):
                for pattern in mark.kwargs.get("but", ()):
                    matched[item.nodeid.partition("[")[0], pattern] |= _is_row(item, pattern)
    return {key for key, is_matched in matched.items() if not is_matched}


def _is_row(item: pytest.Item, pattern: str) -> bool:
    return hasattr(item, "callspec") and fnmatchcase(item.callspec.id, pattern)
