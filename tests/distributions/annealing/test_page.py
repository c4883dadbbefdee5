"""The page on annealed priors does what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "annealed_priors.md"


def test_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    text, written = PAGE.read_text(), {}
    values: dict[str, Any] = written
    for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
        exec(block, values)
    assert values["annealed"](values["dist"].StudentT(5.0), 2.0).df == 11
    printed = capsys.readouterr().out
    (shown,) = re.findall(r"^```text\n(.*?)^```", text, re.M | re.S)
    assert " ".join(shown.split()) in printed
    assert "Geometric(probs: 0.75" in printed
