import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

from pyro_decomp.cli.failures import told_in_one_line
from pyro_decomp.training.user_code import memory_counted

ROOT = Path(__file__).parents[2]


def test_want_of_memory_is_one_line_with_what_takes_less(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit), told_in_one_line(), memory_counted("a smaller batch_size"):
        np.ones(2**56)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "not enough memory: 512.0 PiB more were asked for, and" in said
    assert said.endswith(": a smaller batch_size takes less\n")


def test_a_library_that_finds_no_room_is_not_put_down_to_the_batch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(typer.Exit), told_in_one_line(), memory_counted():
        raise ImportError("libtorch_cpu.so: failed to map segment from shared object")
    said = capsys.readouterr().err
    assert "not enough memory to load what is needed" in said
    assert "batch_size" not in said


@pytest.mark.slow
@pytest.mark.parametrize("gib", [0.35, 2])
def test_the_pinwheel_is_trained_and_measured_in_two_gib_or_says_why_not(
    tmp_path: Path, gib: float
) -> None:
    def limited(*words: str) -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "pyro_decomp", *words)
        return subprocess.run(
            ["sh", "-c", f'ulimit -d {int(gib * 2**20)}; exec "$@"', "sh", *command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            check=False,
        )

    file = str(ROOT / "examples" / "pinwheel_mixture.py")
    trained = limited("train", file, "--out", "run", "--set", "epochs=2", "--quiet")
    if gib < 1:
        assert trained.returncode == 1
        assert trained.stderr.startswith("error: ")
        assert "not enough memory" in trained.stderr
        assert trained.stderr.count("\n") == 1
        return
    assert (trained.returncode, trained.stderr) == (0, "")
    measured = limited("evaluate", "run", "--only", "elbo", "--quiet")
    assert (measured.returncode, measured.stderr) == (0, "")
