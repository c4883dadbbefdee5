"""How commands end where what they print cannot be written, and by which signal they were stopped.

One process imports everything, and each command runs in a fork of it, as in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.training.test_survival import SOURCE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STREAMS = ("gone", "full", "full stderr", "closed", "ascii", "narrow")
TRAIN = "train trial.py --set epochs=2 --out"
COMMANDS = {  # after what is trained once
    "train": f"{TRAIN} again",
    "evaluate": "evaluate run --only elbo",
    "plot": "plot run",
    "inspect": "inspect trial.py",
    "metrics": "metrics codes.npy --only active_units",
    "sweep": "sweep trial.py --set epochs=1,2 --seeds 1 --out swept",
    "compare": "compare run",
    "a wrong word": "train trial.py --set epoch=2",
}
PRINTED = ("inspect", "metrics", "compare")  # what has no other result

FORKS = """
import json, os, pty, shutil, sys, traceback

import numpy as np
import torch

import pyro_decomp.analysis.evaluation, pyro_decomp.analysis.pictures, pyro_decomp.sweep.running
from pyro_decomp.cli import main


def arrange(stream):
    if stream == "gone":
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 1)
    if stream == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    if stream == "full stderr":
        os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
    if stream == "closed":
        for number in range(3):
            os.close(number)
        sys.stdin = sys.stdout = sys.stderr = None
    if stream == "ascii":
        sys.stdout = open(1, "w", encoding="ascii", closefd=False)
        sys.stderr = open(2, "w", encoding="ascii", errors="backslashreplace", closefd=False)


def attempt(words, stream):
    for made in ("again", "swept"):
        shutil.rmtree(made, ignore_errors=True)
    log = os.open("log", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    child, terminal = pty.fork() if stream == "narrow" else (os.fork(), None)
    if child == 0:
        if stream == "narrow":
            os.environ |= {"COLUMNS": "20", "TERM": "xterm"}
        else:
            os.dup2(log, 1)
            os.dup2(log, 2)
        arrange(stream)
        sys.argv[1:] = words
        code = 98
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        try:  # as the interpreter does at its end
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:
            code = 120
        os._exit(code)
    output = b""
    while terminal is not None:
        try:
            output += os.read(terminal, 65536)
        except OSError:
            break
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.lseek(log, 0, 0)
    output += os.read(log, 10**6)
    os.close(log)
    drawn = len(os.listdir("again/plots")) if os.path.exists("again/plots") else 0
    return {"code": code, "output": output.decode(errors="replace"), "drawn": drawn}


torch.set_num_threads(1)
np.save("codes.npy", np.random.default_rng(0).normal(size=(50, 2)))
assert attempt(sys.argv[2].split(), None)["code"] == 0
answers = {}
for stream in json.loads(sys.argv[1]):
    for name, words in json.loads(sys.argv[3]).items():
        answers[f"{name}, {stream}"] = attempt(words.split(), stream)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What came of each command with each state of its streams."""
    folder = tmp_path_factory.mktemp("endings")
    (folder / "trial.py").write_text(SOURCE)
    words = [json.dumps(STREAMS), f"{TRAIN} run", json.dumps(COMMANDS)]
    done = subprocess.run(
        [sys.executable, "-c", FORKS, *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("name", list(COMMANDS))
def test_the_exit_status_is_that_of_the_work(
    name: str, stream: str, found: dict[str, dict[str, Any]]
) -> None:
    answer = found[f"{name}, {stream}"]
    output = answer["output"]
    expected = 1 if name == "a wrong word" or (name in PRINTED and stream == "full") else 0
    assert answer["code"] == expected, output
    for noise in ("Traceback", "Exception ignored", "Errno", "could not"):
        assert noise not in output
    if name == "train":
        assert answer["drawn"] == 7
    if name in PRINTED and stream == "full":
        assert output == "error: standard output: No space left on device\n"
