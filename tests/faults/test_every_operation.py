"""A command that is killed at any instant, or fails at any operation on files, loses nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.file_faults import environment, why_not
from tests.training.test_survival import SOURCE

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]

# Of the things that can be done to a command at its operations, each is tried, or every so many.
STRIDES = {
    "train": 1,
    "resume": 1,
    "force": 3,
    "sweep, processes": 6,
    "sweep, batched": 6,
    "sweep, measured": 6,
    "sweep, force": 10,
    "evaluate": 1,
    "plot": 5,
    "compare": 3,
}
ONE_RESULT = {"evaluate", "plot", "compare"}  # each file of these is the old or the new one
KILLS = 20
CONVOLUTIONS = """
import torch

from pyro_decomp import VAE, AggregateELBO, Experiment
from pyro_decomp.networks import ConvDecoder32, ConvEncoder32
from pyro_decomp.priors import IsotropicNormal


def experiment() -> Experiment:
    pictures = torch.rand(16, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    vae = VAE(IsotropicNormal(2), ConvEncoder32(2), ConvDecoder32(2), size=16)
    return Experiment(vae.model, vae.guide, pictures, AggregateELBO(), epochs=8, batch_size=8)
"""


def crashed(how: str, name: str, number: int, folder: Path) -> list[dict[str, Any]]:
    """What came of each fault in a command."""
    (folder / "here").mkdir()
    (folder / "here/trial.py").write_text(SOURCE)
    (folder / "here/convolutions.py").write_text(CONVOLUTIONS)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.crashing", how, name, str(number)],
        cwd=folder / "here",
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


def assert_stopped_well(found: dict[str, Any]) -> None:
    """No half file has the name of a whole one, and an error is one sentence."""
    assert not found["damaged"]
    if found["kind"] in ("kill", "torn"):
        assert found["code"] == -signal.SIGKILL
        return
    last = (found["said"].splitlines() or [""])[-1]
    if found["code"] == 0:  # it was no more than warned of
        assert found["same"]
    else:
        assert found["code"] == 1
        assert last.startswith("error: ")
        assert "Traceback" not in found["said"]
        assert "--traceback shows" not in last
    if found["kind"] == "fail" and not found["what"].startswith("unlink"):
        assert not found["unfinished"]


def assert_went_on(row: dict[str, Any]) -> None:
    """The next command does what the first would have, and takes away what that left.

    A lock that could not be removed stays until something is written there again.
    """
    again = row["again"]
    assert again["code"] == 0, again["said"]
    assert again["differing"] == []
    left = again["unfinished"]
    if row.get("kind") == "fail" and row["what"].startswith("unlink"):
        left = [path for path in left if not path.endswith(".writer")]
    assert left == []
    assert again["damaged"] == []


@pytest.mark.parametrize("name", STRIDES)
def test_a_fault_at_an_operation_on_files(name: str, tmp_path: Path) -> None:
    first, *rows = crashed("tried", name, STRIDES[name], tmp_path)
    assert len(first["operations"]) >= 4
    assert {"kill", "fail"} < {row["kind"] for row in rows}
    for row in rows:
        try:
            assert_stopped_well(row)
            assert name not in ONE_RESULT or not row["neither"]
            assert_went_on(row)
        except AssertionError as error:
            raise AssertionError(json.dumps(row, indent=1)) from error


@pytest.mark.parametrize("name", ["train", "convolutions", "sweep, processes", "sweep, batched"])
def test_kills_between_checkpoints(name: str, tmp_path: Path) -> None:
    """Most of these kills lose steps, which are taken again."""
    rows = crashed("killed", name, KILLS, tmp_path)
    kills = [row for row in rows if row["code"] == -signal.SIGPROF]
    assert len(kills) >= 0.9 * KILLS
    assert sum(row["step"] % row["every"] > 0 for row in kills) >= 0.6 * KILLS
    for row in rows:
        assert not row["damaged"]
        assert_went_on(row)
