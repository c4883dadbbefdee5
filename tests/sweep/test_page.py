"""What the page on sweeps tells people to write does what it says."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.sweep.files import SOURCE

PAGE = Path(__file__).parents[2] / "docs" / "sweeps.md"


def test_the_python_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    monkeypatch.chdir(tmp_path)
    Path("trial.py").write_text(SOURCE)
    written: dict[str, Any] = {"__name__": "__main__"}
    exec(block, written)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines] == [["beta", "=", "0.5"], ["beta", "=", "1"]]
