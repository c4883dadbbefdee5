"""README's commands without a compiler, a home that can be written, or much memory."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
PINWHEEL = Path(__file__).parents[2] / "examples" / "pinwheel_mixture.py"
NOWHERE = "/proc/nowhere"  # where even root makes no folder
MEMORY = 2 * 2**30  # bytes


def little_memory() -> None:
    """Two gigabytes of what a process may write; libraries that are mapped do not count."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


@pytest.mark.parametrize(
    ("changed", "before"),
    [
        pytest.param({"PATH": "/nowhere", "CC": ""}, None, id="no compiler"),
        pytest.param({"CC": "false"}, None, id="one that fails"),
        pytest.param({"HOME": NOWHERE, "XDG_CACHE_HOME": ""}, None, id="no home"),
        pytest.param({"XDG_CACHE_HOME": NOWHERE}, None, id="no cache"),
        pytest.param({}, little_memory, id="2 GiB"),
    ],
)
def test_commands_of_readme(
    changed: dict[str, str], before: Callable[[], None] | None, tmp_path: Path
) -> None:
    for words in (["train", str(PINWHEEL), "--out", "run"], ["evaluate", "run"]):
        done = subprocess.run(
            [sys.executable, "-m", "pyro_decomp", *words],
            cwd=tmp_path,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | changed,
            preexec_fn=before,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "error" not in done.stderr
    assert (tmp_path / "run/metrics.json").exists()
    assert len(list((tmp_path / "run/plots").iterdir())) > 5
