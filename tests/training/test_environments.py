"""Runs that go on with another compiler, version or processor: the same bits, or words of it."""

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from pyro_decomp import VAE, AggregateELBO, Execution, Experiment, train
from pyro_decomp.acceleration.fusion import program
from pyro_decomp.aggregate_posterior import gaussian_native
from pyro_decomp.aggregate_posterior.native import library
from pyro_decomp.elbo import BetaELBO
from pyro_decomp.networks import MLPDecoder, MLPEncoder
from pyro_decomp.priors import IsotropicNormal
from pyro_decomp.training import environments
from pyro_decomp.training.interruption import Interrupted
from pyro_decomp.training.loop import ExecutionWarning
from pyro_decomp.training.run_files.run_folder import RunFolder
from tests.callbacks import Step
from tests.training.test_training import files
from tests.training.test_training_schedules import interrupt_at

needs_compiler = pytest.mark.skipif(bool(library.why_not()), reason="no C compiler")
NOW = environments.environment(Execution("eager", threads=1), torch.device("cpu"), 5)


def built(*, sums_pairs: bool = False, epochs: int = 8) -> Experiment:
    encoder, decoder = MLPEncoder(3, 2, hidden=(4,)), MLPDecoder(2, 3, hidden=(4,))
    vae = VAE(IsotropicNormal(2), encoder, decoder, size=20)
    x = torch.arange(60.0).view(20, 3).sin()
    elbo = AggregateELBO(alpha=1.5) if sums_pairs else BetaELBO(2.0)
    return Experiment(vae.model, vae.guide, x, elbo, epochs=epochs)


def begun(path: Path, steps: str = "eager", **arguments: Any) -> dict[str, Any]:
    with pytest.raises(Interrupted):
        train(
            built, path, arguments=arguments, execution=Execution(steps),
            callbacks=[Step(interrupt_at(4))],
        )  # fmt: skip
    return config(path)


def config(path: Path) -> dict[str, Any]:
    return RunFolder(path).read_config()


def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process that finds none."""
    monkeypatch.setenv("PATH", os.devnull)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(gaussian_native, "code_for", lambda dtype: None)
    program._compiled.cache_clear()


def resumed(path: Path, **arguments: Any) -> list[str]:
    """Resume a run; what was said of its environment."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        train(built, path, resume=True, arguments=arguments)
    return [str(each.message) for each in told if each.category is ExecutionWarning]


def test_where_nothing_is_other_nothing_is_said_or_appended(tmp_path: Path) -> None:
    before = begun(tmp_path / "run")
    (environment,) = before["environments"]
    assert environment == {**NOW, "from_step": 1}
    assert resumed(tmp_path / "run") == []
    assert config(tmp_path / "run")["environments"] == [environment]
    train(built, tmp_path / "whole", execution=Execution("eager"))
    assert files(tmp_path / "run") == files(tmp_path / "whole")


OTHER = {
    "torch": ({"versions": {"torch": "1.0"}}, f"torch {torch.__version__.split('+')[0]}"),
    "python": ({"versions": {"python": "2.7.1"}}, "in place of python 2.7.1"),
    "processor": ({"processor": "an abacus"}, "in place of processor an abacus"),
    "threads": ({"threads": 7}, "1 thread in place of 7 threads"),
}


@pytest.mark.full(but=["torch"])
@pytest.mark.parametrize("name", OTHER)
def test_what_is_other_is_said_once_and_recorded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, said = OTHER[name]
    now = environments.environment
    with monkeypatch.context() as then:
        then.setattr(environments, "environment", lambda *given: mixed(now(*given), changed))
        begun(tmp_path / "run")
    (sentence,) = resumed(tmp_path / "run")
    assert sentence.startswith(f"{tmp_path / 'run'}: from step 5 on with ")
    assert said in sentence
    assert "the bits may differ from those of an uninterrupted run" in sentence
    first, second = config(tmp_path / "run")["environments"]
    assert (first["from_step"], second["from_step"]) == (1, 5)
    assert second == NOW


def mixed(now: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    versions = now["versions"] | changed.get("versions", {})
    return {**now, **changed, "versions": versions}


@needs_compiler
@pytest.mark.full
@pytest.mark.parametrize(
    ("steps", "sums_pairs"),
    [("fused", False), ("eager", True), ("eager", False), ("captured", False)],
    ids=["fused", "pairs", "eager", "captured"],
)
def test_without_the_compiler_it_is_the_same_bits_or_said(
    steps: str, sums_pairs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"sums_pairs": sums_pairs, "epochs": 40}
    train(built, tmp_path / "whole", arguments=given, execution=Execution(steps))
    begun(tmp_path / "run", steps, **given)
    with monkeypatch.context() as elsewhere:
        without_compiler(elsewhere)
        said = resumed(tmp_path / "run", **given)
    is_same = files(tmp_path / "run") == files(tmp_path / "whole")
    found = config(tmp_path / "run")
    assert (
        found["environments"][-1] | {"from_step": 5, "compiler": None} == found["environments"][-1]
    )
    if steps == "fused" or sums_pairs:
        assert not is_same
        (sentence,) = said
        assert "no C compiler in place of the C compiler" in sentence
    else:
        assert is_same
        assert said == []
    how = found["execution"]
    if steps == "fused":
        assert "captured steps in place of fused steps" in sentence
        assert [(s["first_step"], s["steps"]) for s in how["stretches"]] == [
            (1, "fused"),
            (5, "captured"),
        ]
        assert "no C compiler" in how["why"]
    else:
        assert (how["steps"], how["stretches"]) == (steps, [])


@needs_compiler
@pytest.mark.full
def test_a_run_that_was_begun_with_a_compiler_begins_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path / "run", "fused")
    (tmp_path / "run" / "checkpoint.pt").unlink()  # it was killed before the first
    without_compiler(monkeypatch)
    assert resumed(tmp_path / "run") == []
    found = config(tmp_path / "run")
    assert found["execution"]["steps"] == "captured"
    assert [each["from_step"] for each in found["environments"]] == [1]
    assert found["environments"][0]["steps"] == "captured"


@pytest.mark.full
def test_runs_from_before_environments_were_recorded_go_on(tmp_path: Path) -> None:
    found = begun(tmp_path / "run")
    assert environments.of_config({"versions": found["versions"]}, 4) == [
        {"from_step": 1, "versions": found["versions"]}
    ]
    old = {"from_step": 1, "versions": found["versions"] | {"numpy": "1.0"}}
    assert environments.followed([old], NOW) == [old, NOW]
    assert "numpy" in environments.departure([old], NOW, lambda: False)
    same = {"from_step": 1, "versions": found["versions"]}
    assert environments.followed([same], NOW) == [same]


def test_stretches_of_which_nothing_was_kept_are_forgotten() -> None:
    first, lost = {**NOW, "from_step": 1}, {**NOW, "from_step": 5, "processor": "an abacus"}
    found = environments.of_config({"environments": [first, lost]}, until_step=4)
    assert found == [first]
    assert environments.followed(found, NOW) == [first]


def test_environments_are_plain_values() -> None:
    assert json.loads(json.dumps(NOW)) == NOW
