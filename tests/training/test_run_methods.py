"""A run has the functions of analysis as methods, with the same parameters and results."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp import AggregateELBO, Experiment, train
from pyro_decomp.analysis import pictures
from pyro_decomp.analysis.evaluation import evaluate
from pyro_decomp.analysis.generation import intervene, sample_prior, traverse
from pyro_decomp.analysis.latents import codes, latents, log_likelihood, reconstruct
from pyro_decomp.analysis.summary import summarize
from pyro_decomp.training.run import Run
from pyro_decomp.training.run_methods import RunMethods
from tests.example_programs import D, N, vae

# Of each method its function and some arguments.
METHODS: dict[str, tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = {
    "codes": (codes, (), {"kind": "sample", "seed": 1}),
    "latents": (latents, (), {"kind": "sample", "seed": 1}),
    "reconstruct": (reconstruct, (), {"kind": "sample", "seed": 1}),
    "log_likelihood": (log_likelihood, (), {"num_samples": 3, "seed": 1}),
    "sample_prior": (sample_prior, (4,), {"seed": 1}),
    "intervene": (intervene, ({},), {"num_samples": 4, "seed": 1}),
    "traverse": (traverse, ("z", [0.0, 1.0]), {"dim": 0, "seed": 1}),
    "evaluate": (evaluate, (), {"only": ["elbo"], "seed": 1}),
    "plot": (pictures.draw, (), {"seed": 1}),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    programs = vae()
    data = torch.randn(N, D, dtype=torch.double)
    experiment = Experiment(programs.model, programs.guide, data, AggregateELBO(), epochs=1)
    return train(experiment, tmp_path_factory.mktemp("run") / "run")


def test_every_method_has_a_row() -> None:
    methods = [name for name in vars(RunMethods) if not name.startswith("_")]
    assert sorted(methods) == sorted([*METHODS, "summary", "train"])


@pytest.mark.parametrize("name", METHODS)
def test_a_method_takes_what_its_function_takes(name: str) -> None:
    ours, theirs = (
        [
            (p.name, p.kind, p.default)
            for p in inspect.signature(call).parameters.values()
            if p.name != "beside"  # a process that the command line has
        ][1:]
        for call in (getattr(Run, name), METHODS[name][0])
    )
    assert ours == theirs


@pytest.mark.parametrize("name", METHODS)
def test_help_of_a_method_says_what_each_argument_is(name: str) -> None:
    method = getattr(Run, name)
    documented = re.findall(r"^    (\w+): ", inspect.getdoc(method).partition("Args:")[2], re.M)
    assert documented == [*inspect.signature(method).parameters][1:]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "plot"])
def test_a_method_gives_what_its_function_gives(name: str, run: Run) -> None:
    function, positional, named = METHODS[name]
    found, expected = getattr(run, name)(*positional, **named), function(run, *positional, **named)
    if name in {"sample_prior", "intervene", "traverse"}:
        found, expected = found.latents, expected.latents
    if name == "evaluate":
        assert found == expected
    else:
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.full
def test_pictures_are_drawn(run: Run) -> None:
    drawn = run.plot(seed=1)
    assert Path("terms.png") in [path.relative_to(run.folder.plots_path) for path in drawn]
    assert all(path.exists() for path in drawn)


def test_a_run_sums_up_its_experiment(run: Run) -> None:
    assert run.summary() == summarize(run.experiment, run.state)
