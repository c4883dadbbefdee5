"""Runs of a notebook's cells, by a real kernel, are got back by other processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CELLS = [
    """
import dataclasses
import torch
import pyro
import pyro.distributions as dist
from pyro_decomp import VAE, AggregateELBO, Experiment, InclusiveKL, evaluate, load, train
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from widths import WIDTH
DATA = torch.randn(40, 2)
open_file = open("widths.py")
""",
    """
%matplotlib inline
class Encoder(MLPEncoder):
    pass

class Bare:
    width = WIDTH

@dataclasses.dataclass
class Settings:
    hidden: tuple = (4,)

SETTINGS = Settings((5,))

def prior():
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1).to_event(1))
""",
    """
def make(alpha: float = 1.0):
    encoder = Encoder(2, 2, hidden=(Bare.width,))
    vae = VAE(prior, encoder, MLPDecoder(2, 2, hidden=SETTINGS.hidden), size=len(DATA))
    elbo = AggregateELBO(alpha=alpha, divergence=InclusiveKL())
    return Experiment(vae.model, vae.guide, DATA, elbo, epochs=3, batch_size=20)

run = train(make, "run", arguments={"alpha": 2.0})
""",
    """
print(evaluate(run, only=["elbo"])["train"]["elbo"])
print(evaluate(load("run"), only=["elbo"])["train"]["elbo"])
from pyro_decomp.sweep import sweep
table = sweep(make, {"alpha": [1.0, 2.0]}, out="sweep", way="processes", metrics=["elbo"])
print(table["status"].to_pylist())
""",
]


def executed(cells: list[str], folder: Path) -> list[Any]:
    """The outputs of the cells of a notebook that a kernel runs in a folder."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    resources = {"metadata": {"path": str(folder)}}
    client = nbclient.NotebookClient(notebook, timeout=300, resources=resources)
    client.execute(env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    return [cell.outputs for cell in notebook.cells]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_run_of_a_cell_is_measured_by_the_shell_and_swept(tmp_path: Path) -> None:
    (tmp_path / "widths.py").write_text("WIDTH = 6\n")
    *_, outputs = executed(CELLS, tmp_path)
    said = "".join(output.get("text", "") for output in outputs).splitlines()
    assert said[0] == said[1]
    assert said[-1] == "['finished', 'finished']"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for words in (["evaluate", str(tmp_path / "run")], ["compare", str(tmp_path / "sweep")]):
        command = [sys.executable, "-m", "pyro_decomp", *words]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["train"]["elbo"] == float(said[0])
    assert metrics["train"]["scores"]["active_units"]["details"]["untrained"] is not None
