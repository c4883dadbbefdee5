from pathlib import Path

import torch

from pyro_decomp import load, train
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run import Run, untrained

FILE = """
import pyro, torch
import pyro.distributions as dist
from pyro_decomp import VAE, AggregateELBO, Experiment
from pyro_decomp.networks import MLPDecoder, MLPEncoder


def prior():
    return pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))


def experiment(hidden: int = 4) -> Experiment:
    vae = VAE(prior, MLPEncoder(3, 2, (hidden,)), MLPDecoder(2, 3, (hidden,)), size=20)
    factors = torch.arange(20) % 4
    data = factors[:, None] + torch.randn(20, 3)
    return Experiment(vae.model, vae.guide, data, AggregateELBO(), epochs=3, factors=factors)
"""


def trained(folder: Path, seed: int = 7) -> Run:
    (folder / "trial.py").write_text(FILE)
    source = ExperimentFile.read(folder / "trial.py", seed=seed)
    set_seed(seed)
    trial = source.build({"hidden": 5})
    return train(trial, folder / "run", seed=seed, source=source, arguments={"hidden": 5})


def test_it_has_the_parameters_that_training_began_with(tmp_path: Path) -> None:
    run = trained(tmp_path)
    (tmp_path / "trial.py").unlink()
    set_seed(7)
    beginning = ExperimentFile.from_source(FILE, "trial.py", seed=7)
    set_seed(7)
    expected = beginning.build({"hidden": 5}).model.__self__  # type: ignore[attr-defined]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    before = untrained(load(tmp_path / "run"))
    assert torch.equal(torch.get_rng_state(), state)
    assert before is not None
    assert before.step == 0
    assert torch.equal(before.data.x, run.data.x)
    for name, value in expected.state_dict().items():
        assert torch.equal(before.model.__self__.state_dict()[name], value)  # type: ignore[attr-defined]
        assert not torch.equal(run.model.__self__.state_dict()[name], value)  # type: ignore[attr-defined]


def test_a_run_from_python_has_none(tmp_path: Path) -> None:
    (tmp_path / "trial.py").write_text(FILE)
    trial = ExperimentFile.read(tmp_path / "trial.py").build({"hidden": 5})
    assert untrained(train(trial, tmp_path / "run")) is None
