"""Which tests run when: `fast` always, `full` before a change lands, `slow` in `.ci/run`.

A test is of the tier whose mark is nearest: its row's, else its own, else its file's
(``pytestmark = pytest.mark.full``), else `fast`.
"""

from collections.abc import Collection, Iterable
from typing import Any

import pytest

TIERS = ("fast", "full", "slow")


def tier_of(item: pytest.Item) -> str:
    """The tier of a collected test."""
    return next((mark.name for mark in item.iter_markers() if mark.name in TIERS), "fast")


def rows(table: Iterable[Any], *, fast: Collection[Any], rest: str = "full") -> list[Any]:
    """The rows of a table as parameters of a test, of which the named ones stay fast.

    Args:
        table: What ``pytest.mark.parametrize`` takes: values, or tuples where it has several names.
        fast: The rows that are fast; each must be in the table.
        rest: The tier of all others.
    """
    table = list(table)
    unknown = [row for row in fast if row not in table]
    assert not unknown, f"expected rows of the table, got {unknown}"
    mark = getattr(pytest.mark, rest)
    return [
        pytest.param(*(row if isinstance(row, tuple) else (row,)), marks=() if row in fast else mark)
        for row in table
    ]
