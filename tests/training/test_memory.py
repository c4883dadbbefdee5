"""Training for long, or again and again, takes no more of the machine than doing so for a while."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import gc
import sys
import threading
from pathlib import Path

from pyro_decomp import load, train
from pyro_decomp.acceleration import Execution
from pyro_decomp.analysis import evaluation
from pyro_decomp.sweep import sweep
from pyro_decomp.training.callbacks import Callback
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.progress import Progress

FILE, WHAT, NUMBER = sys.argv[1], sys.argv[2], int(sys.argv[3])


def note() -> None:
    gc.collect()
    children = Path(f"/proc/self/task/{threading.main_thread().native_id}/children").read_text()
    handles = len(list(Path("/proc/self/fd").iterdir()))
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    print(resident, handles, threading.active_count(), len(children.split()), flush=True)


class Noting(Callback):
    def step(self, training) -> None:
        if training.step in (NUMBER // 2, NUMBER):
            note()


source = ExperimentFile.read(FILE, seed=0)
quiet = Progress("none")
if WHAT in ("eager", "captured", "fused"):
    told, how = [Noting(), quiet], Execution(WHAT, threads=1)
    train(source, "run", execution=how, arguments={"epochs": NUMBER}, callbacks=told)
elif WHAT == "sweep":
    ended = {NUMBER // 2, NUMBER}

    def report(progress) -> None:
        if progress.num_ended in ended:
            ended.remove(progress.num_ended)
            note()

    betas = [1 + i / NUMBER for i in range(NUMBER)]
    values = {"beta": betas, "epochs": [2]}
    sweep(FILE, values, out="sweep", way="processes", num_workers=1, report=report)
else:
    run = train(source, "first", arguments={"epochs": 5}, callbacks=[quiet])
    for i in range(1, NUMBER + 1):
        if WHAT == "runs":
            train(source, arguments={"epochs": 5}, callbacks=[quiet])
        else:
            evaluation.evaluate(load("first"), only=["elbo"])
        if i in (NUMBER // 2, NUMBER):
            note()
"""
PINWHEEL = Path(__file__).parents[2] / "examples" / "pinwheel_mixture.py"
ROW = 7 * 8 * 8  # bytes that a step may leave in the history: numbers, and the lists that grow
SPARE = 4 * 2**20  # bytes in all; a tensor of the data that is left each time comes to more


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "number", "growth"),
    [
        ("eager", 2_000, SPARE + 1_000 * ROW),
        ("captured", 4_000, SPARE + 2_000 * ROW),
        ("fused", 10_000, SPARE + 5_000 * ROW),
        ("sweep", 200, 2 * SPARE),  # a record of each member stays
        ("runs", 50, SPARE),
        ("evaluations", 60, SPARE),
    ],
)
def test_the_second_half_takes_no_more(what: str, number: int, growth: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(PINWHEEL), what, str(number)],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    half, whole = (list(map(int, line.split())) for line in done.stdout.splitlines())
    assert half[0] > 50 * 2**20  # torch and all else: it was measured
    assert whole[0] - half[0] < growth
    assert whole[1:] == half[1:]  # file handles, threads, processes
