"""A run comes back from its folder, and as it was before training."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn

from pyro_decomp import AggregateELBO, Experiment, load, train
from pyro_decomp.errors import ExperimentError, ModelError, RunError
from pyro_decomp.seeds import set_seed
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.run import Run, untrained
from pyro_decomp.training.run_files.checked_files import FORMAT, digest
from pyro_decomp.training.run_files.run_folder import RunFolder
from tests.training.edited import edit_config, of_source

SOURCE = """
import pyro
import pyro.distributions as dist
import torch
from pyro_decomp import AggregateELBO, Experiment
from pyro_decomp.data import pinwheel


def experiment(width: int = 3, epochs: int = 4, pair: tuple[float, ...] = (1.0,)) -> Experiment:
    encoder = torch.nn.Sequential(torch.nn.Linear(2, width), torch.nn.Linear(width, 1))
    data = pinwheel(4, 5)

    def model(x):
        slope = pyro.param("slope", torch.ones(2))
        with pyro.plate("data", len(data), subsample=x):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(slope * z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(data), subsample=x):
            pyro.sample("z", dist.Normal(encoder(x), 0.5).to_event(1))

    return Experiment(model, guide, data=data, elbo=AggregateELBO(), epochs=epochs)
"""


def trained(folder: Path, seed: int = 2, **arguments: Any) -> Run:
    """Train a file, as the command line does, in ``folder/run``."""
    path = folder / "trial.py"
    path.write_text(SOURCE)
    source = ExperimentFile.read(path, seed=seed)
    return train(source, folder / "run", seed=seed, arguments=arguments)


def values(run: Run) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in run.state.parameters.items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    run = trained(tmp_path, width=5, pair=(1, 2.5))
    loaded = load(tmp_path / "run")
    assert equal(values(run), values(loaded))
    assert list(loaded.history) == list(run.history)
    for name, column in run.history.items():
        np.testing.assert_array_equal(loaded.history[name], column)
    assert loaded.step == 4
    assert loaded.path == tmp_path / "run"
    assert torch.equal(loaded.data.x, run.data.x)
    traces = []
    for one in (run, loaded):
        set_seed(0)
        guide_trace = pyro.poutine.trace(one.guide).get_trace(*one.data[:])
        replayed = pyro.poutine.replay(one.model, trace=guide_trace)
        traces.append(pyro.poutine.trace(replayed).get_trace(*one.data[:]))
    assert torch.equal(traces[0].log_prob_sum(), traces[1].log_prob_sum())
    assert not any(module.training for module in loaded.state.modules)


def test_the_configuration_says_what_the_run_is(tmp_path: Path) -> None:
    run = trained(tmp_path, width=5, pair=(1, 2.5))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config.pop("digest") == digest(config)
    assert config.pop("format") == FORMAT
    assert config == run.config
    assert config["arguments"] == {"width": 5, "pair": [1, 2.5]}
    assert config["seed"] == 2
    assert config["source"] == SOURCE
    assert torch.__version__.startswith(config["versions"]["torch"])
    assert (config["num_data"], config["total_steps"]) == (20, 4)


def test_loading_trains_nothing_and_touches_no_generator_nor_file(tmp_path: Path) -> None:
    expected = values(trained(tmp_path))
    before = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    draws = []
    for is_loading in (False, True):
        set_seed(5)
        if is_loading:
            assert equal(values(load(tmp_path / "run")), expected)
        draws.append((torch.rand(3).tolist(), np.random.rand(), random.random()))
    assert draws[0] == draws[1]
    assert {path: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_run_outlives_its_file_and_moves(tmp_path: Path) -> None:
    expected = values(trained(tmp_path))
    (tmp_path / "trial.py").unlink()
    (tmp_path / "run").rename(tmp_path / "elsewhere")
    assert equal(values(load(tmp_path / "elsewhere")), expected)


def test_loaded_runs_share_nothing(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        trained(tmp_path / name, seed)
    one, other = load(tmp_path / "a" / "run"), load(tmp_path / "b" / "run")
    assert set(one.state.parameters) == {"0.weight", "0.bias", "1.weight", "1.bias", "slope"}
    expected = values(other)
    with torch.no_grad():
        for parameter in one.state.parameters.values():
            parameter.zero_()
    assert equal(values(other), expected)
    trace = pyro.poutine.trace(other.model).get_trace(*other.data[:])
    assert torch.equal(trace.nodes["slope"]["value"], expected["slope"])


def test_a_run_from_python_needs_its_experiment(tmp_path: Path) -> None:
    net, data = nn.Linear(1, 1), torch.randn(6, 1)

    def build() -> Experiment:
        def model(x: Tensor) -> None:
            with pyro.plate("data", 6, subsample=x):
                z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        def guide(x: Tensor) -> None:
            with pyro.plate("data", 6, subsample=x):
                pyro.sample("z", dist.Normal(net(x), 1.0).to_event(1))

        return Experiment(model, guide, data=data, elbo=AggregateELBO(), epochs=2)

    expected = values(train(build(), tmp_path / "run"))
    with pytest.raises(RunError, match=r"trained from an Experiment: .* load\(path, experiment="):
        load(tmp_path / "run")
    net.reset_parameters()
    assert equal(values(load(tmp_path / "run", experiment=build())), expected)


@pytest.mark.full
@pytest.mark.parametrize(
    "changes", [{"modules": ["x"] * 2}, {"parameters": {"a": "x"}}, {"python": {"a": 1}}]
)
def test_a_checkpoint_that_holds_anything_is_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    trained(tmp_path)
    path = tmp_path / "run" / "checkpoint.pt"
    torch.save(torch.load(path) | changes, path)
    with pytest.raises(RunError, match=r"checkpoint\.pt does not fit .*: it holds other things"):
        load(tmp_path / "run")


def test_what_cannot_be_loaded_is_said(tmp_path: Path) -> None:
    trained(tmp_path)
    run = tmp_path / "run"
    edit_config(run, {"arguments": {"width": 4}})
    with pytest.raises(RunError, match=r"checkpoint\.pt does not fit the run's experiment"):
        load(run)
    edit_config(run, {"arguments": {"wide": 4}})
    with pytest.raises(ExperimentError, match="no parameter `wide`"):
        load(run)
    edit_config(run, {"arguments": {}, **of_source("def experiment(): 1 / 0")})
    with pytest.raises(ExperimentError, match=r"trial\.py:1: .* raised ZeroDivisionError"):
        load(run)
    (run / "checkpoint.pt").unlink()
    with pytest.raises(RunError, match="the run has no checkpoint yet"):
        load(run)


def test_an_error_of_the_experiment_is_not_blamed_on_the_checkpoint(tmp_path: Path) -> None:
    trained(tmp_path)
    config = RunFolder(tmp_path / "run").read_config()
    broken = config["source"].replace("slope * z", "slope @ z")
    edit_config(tmp_path / "run", of_source(broken))
    with pytest.raises(ModelError, match=r"cannot be run on a batch of .* shapes"):
        load(tmp_path / "run")


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


def trained_from_file(folder: Path, seed: int = 7) -> Run:
    (folder / "trial.py").write_text(FILE)
    source = ExperimentFile.read(folder / "trial.py", seed=seed)
    return train(source, folder / "run", seed=seed, arguments={"hidden": 5})


def test_it_has_the_parameters_that_training_began_with(tmp_path: Path) -> None:
    run = trained_from_file(tmp_path)
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
