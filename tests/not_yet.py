"""What is known to be wrong today, in one place: each a test of the right value that fails.

A row is marked ``xfail(strict=True)``, so that the test of what is mended fails until its row here
is removed.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pytest

NOT_YET: dict[str, tuple[str, Sequence[str]]] = {}  # area: why, and which rows


def rows(area: str, names: Iterable[str], *, often: Collection[str] = ()) -> list[Any]:
    """The names as parameters of a test, marked as slow or as failing today.

    Args:
        area: Which of the tables of ``NOT_YET``.
        names: Names of the rows.
        often: Those that are not slow.
    """
    reason, known = NOT_YET.get(area, ("", ()))
    names = list(names)
    unknown = set(known) - set(names)
    assert not unknown, f"{area}: no rows {unknown}"
    found = []
    for name in names:
        marks = [] if name in often else [pytest.mark.slow]
        if name in known:
            marks.append(pytest.mark.xfail(strict=True, reason=reason))
        found.append(pytest.param(name, marks=marks))
    return found
