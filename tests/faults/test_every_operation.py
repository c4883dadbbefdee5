"""A run that is stopped or fails at any operation on files resumes to the same bytes.

``tests/test_survival.py`` kills by the clock; here the places are counted.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_survival import SOURCE

pytestmark = pytest.mark.slow


def crash(mode: str, most: int, folder: Path) -> dict[str, Any]:
    (folder / "trial.py").write_text(SOURCE)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.crashing", mode, str(most)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("mode", ["kill", "torn", "full"])
def test_stopped_at_an_operation_on_files(mode: str, tmp_path: Path) -> None:
    found = crash(mode, 12, tmp_path)
    assert found["operations"] > 50  # of which all are known, and some are tried
    ended = 1 if mode == "full" else -signal.SIGKILL
    assert sum(each["code"] == ended for each in found["tried"]) >= 10
    for each in found["tried"]:
        assert each["same"], each
        assert not each["hidden"], each


def test_killed_between_checkpoints(tmp_path: Path) -> None:
    """Every one of these kills loses steps that are taken again."""
    found = crash("between", 8, tmp_path)
    assert [each["code"] for each in found["tried"]] == [-signal.SIGKILL] * 8
    assert all(each["kept"] for each in found["tried"])
    for each in found["tried"]:
        assert each["same"], each
