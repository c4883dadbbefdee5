"""Training for long takes no more memory than training for a while."""

import subprocess
import sys
from pathlib import Path

import pytest

TRAINING = """
import sys
from pathlib import Path

from pyro_decomp import train
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.acceleration import Execution
from pyro_decomp.training.callbacks import Callback

FILE, FOLDER, HOW, STEPS = sys.argv[1:]


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


class Noting(Callback):
    def step(self, training) -> None:
        if training.step in (int(STEPS) // 5, int(STEPS)):
            print(resident())


source = ExperimentFile.read(FILE, seed=0)
arguments = {"epochs": int(STEPS)}
train(source, FOLDER, execution=Execution(HOW), arguments=arguments, callbacks=[Noting()])
"""
PINWHEEL = Path(__file__).parents[2] / "examples" / "pinwheel_mixture.py"
MOST_GROWTH = 6 * 2**20  # bytes; 8,000 rows of history with 7 numbers take 2 to 3 MiB


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
@pytest.mark.slow
def test_ten_thousand_steps_take_no_more_memory(tmp_path: Path) -> None:
    arguments = [str(PINWHEEL), str(tmp_path / "run"), "fused", "10000"]
    command = [sys.executable, "-c", TRAINING, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    early, late = map(int, done.stdout.split())
    assert early > 50 * 2**20  # torch and all else: it was measured
    assert late - early < MOST_GROWTH
