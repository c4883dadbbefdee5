"""The page on metrics names what there is, and its code runs."""

import re
from pathlib import Path
from typing import Any

from pyro_decomp import metrics
from pyro_decomp.metrics.report import BOUNDS, METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
ROWS = re.findall(r"^\| [^|`]+ \|.*\| `(\w+)` \|$", PAGE, re.M)


def test_every_metric_has_a_row_and_every_row_a_metric() -> None:
    assert sorted(ROWS) == sorted([*METRICS, "udr"])
    assert set(ROWS) <= set(metrics.__all__)


def test_what_the_page_bounds_by_1_is_held_to_it() -> None:
    """Ranges such as "0.5 to 1" and "1/K to 1" are held to 0 to 1."""
    ranges = re.findall(r"\| ([^|]*)to 1 \| [^|]* \| `(\w+)` \|$", PAGE, re.M)
    below_0 = ("-1", "0 by chance")
    expected = {name: (-1 if least.startswith(below_0) else 0, 1) for least, name in ranges}
    expected.pop("udr")  # of several runs, which no report has
    assert expected == BOUNDS


def test_the_python_of_the_page() -> None:
    written: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S):
        exec(block, written)
    assert set(written["scores"]) == {"mig", "irs"}
    assert written["score"].value > 0.9
