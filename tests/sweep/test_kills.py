"""Sweeps that are killed at any instant, or stopped, lose nothing and repeat nothing."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyro_decomp import load
from pyro_decomp.sweep import read_table, sweep
from pyro_decomp.sweep.folder import as_csv
from tests.sweep.files import SOURCE

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("trial.py").write_text(SOURCE)


def results(out: str) -> dict[str, bytes]:
    """All that must not depend on how often a sweep was stopped: the table and every run."""
    files = [path for path in Path(out).rglob("members/*/*") if path.name != "resources.json"]
    runs = {str(path.relative_to(out)): path.read_bytes() for path in files}
    return {**runs, "table": as_csv(read_table(out).drop_columns(["seconds"]))}


WORDS = ["sweep", "trial.py", "--set", "beta=0.5,1,2,4", "--set", "epochs=60", "--out", "out"]
OPTIONS = ["--way", "processes", "--workers", "2"]
VALUES = {"beta": [0.5, 1.0, 2.0, 4.0], "epochs": [60]}


def start(*words: str) -> subprocess.Popen[str]:
    """Begin or go on with a sweep that takes its time, and wait until workers train."""
    began = time.time()
    process = subprocess.Popen(
        [sys.executable, "-m", "pyro_decomp", *WORDS, *OPTIONS, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PAUSE": "0.2", "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    second = Path("out/members/beta=1,epochs=60,seed=0/checkpoint.pt")
    while not (second.exists() and second.stat().st_mtime > began):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    return process


def finish() -> None:
    """Go on with the sweep in this process, and do it again from the beginning."""
    sweep("trial.py", VALUES, out="out", way="processes", num_workers=1, resume=True)
    sweep("trial.py", VALUES, out="whole", way="processes", num_workers=1)
    assert results("out") == results("whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_all_lets_workers_save_and_says_how_to_go_on(number: signal.Signals) -> None:
    process = start()
    os.killpg(process.pid, number)  # as a terminal does, or `timeout`
    _, err = process.communicate()
    assert process.returncode == 128 + number, err
    first, second = err.splitlines()
    assert first == "interrupted after 0 of 4 members, in out"
    words = shlex.split(second.removeprefix("go on with: "))
    assert words[:10] == ["pyro-decomp", *WORDS[:6], "--seeds", "1", "--out"]
    assert {*words[10:]} == {"out", *OPTIONS, "--device", "cpu", "--resume"}
    assert read_table("out")["status"].to_pylist() == ["unfinished"] * 4
    assert Path("out/table.csv").read_bytes() == as_csv(read_table("out"))
    assert min(load(path).step for path in Path("out/members").iterdir()) > 0
    finish()


@pytest.mark.slow
def test_workers_killed_with_their_parent_lose_nothing() -> None:
    for words in ([], ["--resume"]):
        process = start(*words)
        time.sleep(1.0)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish()


@pytest.mark.slow
def test_a_member_that_takes_its_process_with_it_is_marked_in_the_end() -> None:
    words = ["--set", "fail=none,die", "--seeds", "2", "--workers", "1", "--resume"]
    command = [sys.executable, "-m", "pyro_decomp", "sweep", "trial.py", "--out", "out", *words]
    codes = [subprocess.run(command, check=False, capture_output=True).returncode for _ in range(3)]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 1]
    assert read_table("out")["status"].to_pylist() == ["finished", "finished", "failed", "failed"]
    assert "killed by SIGKILL" in read_table("out")["message"][2].as_py()
