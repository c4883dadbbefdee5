"""Members in training together that are killed with their process go on to the same bits."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_decomp.aggregate_posterior.native import library
from tests.sweep.ensemble.stateful import FILE

# One process imports all that it takes, and forks another for each attempt: it is never killed.
KILLER = """
import itertools, os, signal, sys
from pathlib import Path

from pyro_decomp.sweep.ensemble import Member, WorkItem, train_item, work_items
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.loop import Loop

source = ExperimentFile.read(Path("stateful.py"))
arguments = {"kind": "assigned", "end": 0.5}
members = [Member(f"m{s}", {**arguments, "beta": 1.0 + s}, seed=s) for s in range(3)]
item = WorkItem(tuple(members), is_batched=True, why="to see", backend=sys.argv[1])
write = work_items.ItemCheckpoint.write
Loop._checkpoint_is_due = lambda self: True  # write at every step


def attempt(out, kill_at=None):
    child = os.fork()
    if child == 0:
        writes = itertools.count(1)

        def write_and_die(self, state):
            write(self, state)
            if next(writes) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

        work_items.ItemCheckpoint.write = write_and_die
        outcomes = train_item(source, item, Path(out), device="cpu", report=lambda *_: None)
        os._exit(0 if all(o.is_batched and o.step == 18 for o in outcomes) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


print(attempt("whole"), attempt("killed", 1), attempt("killed", 6), attempt("killed", 3))
print(attempt("killed"))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        "captured",
        pytest.param(
            "fused", marks=pytest.mark.skipif(bool(library.why_not()), reason="no C compiler")
        ),
    ],
)
def test_a_killed_batch_goes_on_to_the_same_bits(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stateful.py").write_text(FILE)
    done = subprocess.run(
        [sys.executable, "-c", KILLER, how],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    died = str(-signal.SIGKILL)
    assert done.stdout.split() == ["0", died, died, died, "0"], done.stderr
    for path in Path("whole/members").glob("*/*"):
        if path.name != "resources.json":
            other = Path("killed", *path.parts[1:])
            assert path.read_bytes() == other.read_bytes(), path
    assert not list(Path("killed/items").iterdir())
