"""Every benchmark runs, with tiny arguments, and its table is what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import speed
from timing import HEADER, Comparison, in_turns

from pyro_decomp.data.mnist import DEBIAN_FOLDER

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FULL_TABLE = len(HEADER.splitlines()[0].split("|"))


def test_ratios_are_of_turns() -> None:
    comparison = Comparison("a sum", "ours", "theirs", [0.001, 0.004, 0.002], [0.002, 0.002, 0.004])
    assert comparison.ratios() == [0.5, 0.5, 2.0]
    assert comparison.row() == "| a sum | ours | 2 | theirs | 2 | 0.5 | 0.5 | 2 |"


def test_actions_take_turns() -> None:
    called: list[str] = []
    actions = {name: lambda name=name: called.append(name) for name in "ab"}
    seconds = in_turns(actions, turns=2, calls=2, warm_up=1)
    assert "".join(called) == "aabbaabbaabb"
    assert {name: len(found) for name, found in seconds.items()} == {"a": 2, "b": 2}


SLOW = {"commands", "grids"}  # processes that import torch, five or six of them


@pytest.mark.full(but=["terms", "metrics"])
@pytest.mark.parametrize(
    "section",
    [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in speed.SECTIONS],
)
def test_a_section(section: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    speed.main(["--quick", "--only", section, "--write", str(page)])
    text = page.read_text()
    assert text.count(HEADER) == 1
    rows = re.findall(r"^\|(?! what |-).*\|$", text, re.M)
    assert rows
    for row in rows:
        cells = row.split("|")
        assert len(cells) == FULL_TABLE
        median, least, most = map(float, cells[-4:-1])
        assert 0 < least <= median <= most


TINY = {
    "batches": ["--repeats", "1"],
    "objective_steps": ["--repeats", "1"],
    "quality": ["--quick", "--seeds", "2"],
    "sprites": ["--batch", "16", "--repeats", "1"],
    "structured": ["--repeats", "1"],
}
TAKE_MINUTES = {"coverage", "log_bias", "metrics", "mmd", "pairwise"}
NOT_RUN = {"speed", "straightforward", "timing", "training_step"}  # above, and what others import


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_a_benchmark(name: str) -> None:
    if name == "batches" and not DEBIAN_FOLDER.exists():
        pytest.skip("Fashion-MNIST is not there")
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), *TINY[name]]
    written = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert len(written.splitlines()) > 3


def test_no_benchmark_is_forgotten() -> None:
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == {
        *TINY,
        *TAKE_MINUTES,
        *NOT_RUN,
    }
