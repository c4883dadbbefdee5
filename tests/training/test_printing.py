import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRINTS = """
import sys
from pyro_decomp.training.printing import keep_printing, why_lost

keep_printing()
for _ in range(3):
    print("é" * 10_000)
    print("é", file=sys.stderr)
lost = why_lost(sys.stdout)
with open("file", "w") as file:  # which would get the number of a stream that is closed
    assert file.fileno() > 2
    os_error = None if lost is None else lost.strerror
    file.write(f"{os_error}")
"""


@pytest.mark.full
@pytest.mark.parametrize(
    ("redirected", "lost"),
    [
        ("> all", "None"),
        ("| true", "None"),  # a reader that has gone away had what it wanted
        ("> /dev/full", "No space left on device"),
        ("2> /dev/full > all", "None"),
        ("<&- >&- 2>&-", "None"),
    ],
)
def test_no_print_fails(tmp_path: Path, redirected: str, lost: str) -> None:
    (tmp_path / "prints.py").write_text(PRINTS)
    done = subprocess.run(
        f"PYTHONIOENCODING=ascii {sys.executable} prints.py {redirected}; exit ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stderr.split()) <= {"\\xe9"}
    assert (tmp_path / "file").read_text() == lost
    if redirected == "> all":
        assert (tmp_path / "all").read_text() == 3 * (10_000 * "?" + "\n")
