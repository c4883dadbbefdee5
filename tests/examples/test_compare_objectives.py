"""The comparison of objectives: its pictures, its ten objectives, its scores, its table."""

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import torch
from typer.testing import CliRunner

from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.state import prepare
from pyro_decomp.training.training import train

EXAMPLES = Path(__file__).parents[2] / "examples"
OBJECTIVES = (
    "beta annealed entropy capacity decomposition total_correlation factor dip_ii info wasserstein"
)


@pytest.fixture(scope="module")
def source() -> ExperimentFile:
    return ExperimentFile.read(EXAMPLES / "compare_objectives.py", seed=0)


@pytest.fixture(scope="module")
def names(source: ExperimentFile) -> dict[str, Any]:
    return source.function.__globals__


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        path = EXAMPLES / "compare_objectives_table.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def test_the_pictures_are_what_their_factors_say(names: dict[str, Any]) -> None:
    images, factors = names["squares"]()
    assert images.shape == (256, 1, 16, 16)
    assert len(images.flatten(1).unique(dim=0)) == len(factors.unique(dim=0)) == 256
    pixel = torch.arange(16) + 0.5
    area = images.sum((1, 2, 3))
    torch.testing.assert_close(images.sum((1, 2)) @ pixel / area, factors[:, 0])
    torch.testing.assert_close(images.sum((1, 3)) @ pixel / area, factors[:, 1])
    torch.testing.assert_close(area, factors[:, 2].square())
    assert torch.equal(images.amax((1, 2, 3)) - images.amin((1, 2, 3)), torch.ones(256))


def test_every_objective_that_the_signature_names_is_there(names: dict[str, Any]) -> None:
    assert set(get_args(names["Objective"])) == set(names["OBJECTIVES"]) == set(OBJECTIVES.split())


@pytest.mark.full(but=["beta", "total_correlation"])
@pytest.mark.parametrize("objective", OBJECTIVES.split())
def test_the_weight_changes_what_is_maximised(source: ExperimentFile, objective: str) -> None:
    values = []
    for weight in (3.0, 5.0):
        torch.manual_seed(0)
        trial = source.build({"objective": objective, "weight": weight, "hidden": 8})
        prepare(trial)
        values.append(trial.elbo.evaluate(trial.model, trial.guide, trial.data.x[::8]))
    torch.testing.assert_close(values[0].elbo, values[1].elbo)
    assert abs(values[0].objective - values[1].objective) > 1e-4


def test_the_first_weight_of_beta_is_the_plain_elbo(source: ExperimentFile) -> None:
    trial = source.build({"objective": "beta", "weight": 1.0})
    estimate = trial.elbo.evaluate(trial.model, trial.guide, trial.data.x)
    assert estimate.objective.item() == estimate.elbo.item()


@pytest.mark.full
def test_a_short_training_finds_where_the_squares_are(
    source: ExperimentFile, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    trial = source.build({"weight": 1.0, "hidden": 64, "epochs": 30, "lr": 1e-2})
    elbo = train(trial, tmp_path / "run").history["elbo"]
    nothing_known = 256 * math.log(0.5)  # a coin for each pixel
    assert elbo[0] == pytest.approx(nothing_known, rel=0.1)
    assert elbo[-4:].mean() > -60


def test_the_score_of_a_factor(script: ModuleType) -> None:
    torch.manual_seed(0)
    factor = torch.randn(4000)
    noise = torch.randn(4000)
    loc = torch.stack([torch.zeros(4000), noise, 3 - 2 * factor + noise], 1)
    # of -2 f + e, with variances 1, the squared correlation with f is 4 / 5
    assert script.best_r_squared(loc, factor) == pytest.approx(0.8, abs=0.02)
    assert script.best_r_squared(-loc[:, :1], factor) == 0


@pytest.mark.full
def test_a_second_start_trains_only_what_is_missing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "ROWS", {n: script.ROWS[n] for n in list(script.ROWS)[:2]})
    words = ["--out", str(tmp_path), "--seeds", "2", "--epochs", "1"]
    result = CliRunner().invoke(script.app, words)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "table.md").read_text()
    assert text in result.output
    heading, _, *lines = text.splitlines()
    assert len(lines) == 2
    assert all(line.count("|") == heading.replace("\\|", "").count("|") for line in lines)
    assert all(line.count(" ± ") == 9 for line in lines)

    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoint.pt")}
    assert len(written) == 4
    missing = next(iter(written))
    for path in missing.parent.iterdir():
        path.unlink()
    again = CliRunner().invoke(script.app, words)
    assert again.output == result.output
    kept = {path for path in written if path.stat().st_mtime_ns == written[path]}
    assert kept == set(written) - {missing}


@torch.no_grad()
def test_overlap_of_codes_that_hold_all(script: ModuleType, source: ExperimentFile) -> None:
    trial = source.build({"hidden": 8})
    prepare(trial)
    (pair,) = trial.elbo.trace_pairs(trial.model, trial.guide, trial.data.x)
    qz_x = pair.guide.nodes["z"]["fn"].base_dist
    grid = torch.cartesian_prod(*[torch.arange(4.0)] * 4)  # each datum a point of its own
    qz_x.loc[:, :4], qz_x.loc[:, 4:] = grid, 0.0
    qz_x.scale[:] = 0.01
    measured = script.overlap(pair)
    assert measured["mutual_information"] == pytest.approx(math.log(256), abs=1e-3)
    assert measured["total_correlation"] == pytest.approx(0, abs=1e-3)
    qz_x.loc[:, 4] = grid[:, 0]  # a dimension that repeats another, of log 4 nats
    measured = script.overlap(pair)
    assert measured["mutual_information"] == pytest.approx(math.log(256), abs=1e-3)
    assert measured["total_correlation"] == pytest.approx(math.log(4), abs=1e-3)
