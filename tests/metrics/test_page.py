"""The page on metrics names what there is, and its code runs."""

import re
from pathlib import Path
from typing import Any

from pyro_decomp import metrics
from pyro_decomp.metrics.report import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
ROWS = re.findall(r"^\| [^|`]+ \|.*\| `(\w+)` \|$", PAGE, re.M)


def test_every_metric_has_a_row_and_every_row_a_metric() -> None:
    assert sorted(ROWS) == sorted([*METRICS, "udr"])
    assert set(ROWS) <= set(metrics.__all__)


def test_the_python_of_the_page() -> None:
    written: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S):
        exec(block, written)
    assert set(written["scores"]) == {"mig", "irs"}
    assert written["score"].value > 0.9
