"""Every argument of every public function and class refuses what it cannot be, by its name."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_decomp import BetaELBO
from tests.faults import arguments
from tests.faults.arguments import public

PUBLIC = [name for name, _ in public()]


@pytest.fixture(scope="module")
def wrongly_taken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    return answered("taken", tmp_path_factory)


def answered(asked: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    environment = {"PYTHONPATH": str(Path(__file__).parents[2]), "MPLBACKEND": "Agg"}
    process = subprocess.run(
        [sys.executable, "-m", "tests.faults.arguments", asked],
        cwd=tmp_path_factory.mktemp("arguments"),
        env=os.environ | environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, list[str]] = json.loads(process.stdout)
    return found


@pytest.mark.full
@pytest.mark.parametrize("name", PUBLIC)
def test_what_an_argument_cannot_be_is_refused_by_its_name(
    name: str, wrongly_taken: dict[str, list[str]]
) -> None:
    assert wrongly_taken[name] == []


@pytest.mark.slow
def test_numbers_of_numpy_and_torch_are_taken(tmp_path_factory: pytest.TempPathFactory) -> None:
    refused = answered("refused", tmp_path_factory)
    assert {name: found for name, found in refused.items() if found} == {}


def test_of_one_class() -> None:
    assert arguments.wrongly_taken("BetaELBO", BetaELBO, lambda *_: None) == []
    assert arguments.wrongly_taken("one that takes all", lambda beta=1.0: None, lambda *_: None)
