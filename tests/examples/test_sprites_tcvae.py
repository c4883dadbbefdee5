"""A beta-VAE and a beta-TCVAE of sprites: settings, data, training, what is measured."""

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from pyro_decomp.elbo import BetaELBO, TotalCorrelationELBO
from pyro_decomp.training.experiment_file import ExperimentFile
from pyro_decomp.training.training import train

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = {"positions": 4, "hidden": 8}
OBJECTIVES = {"beta": BetaELBO, "total_correlation": TotalCorrelationELBO}


@pytest.fixture(scope="module")
def source() -> ExperimentFile:
    return ExperimentFile.read(EXAMPLES / "sprites_tcvae.py", seed=0)


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        path = EXAMPLES / "sprites_tcvae_table.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def test_the_arguments_reach_the_experiment(source: ExperimentFile) -> None:
    arguments: dict[str, Any] = {**SMALL, "beta": 3.0, "epochs": 2, "batch_size": 48, "lr": 0.1}
    for objective, kind in OBJECTIVES.items():
        trial = source.build({**arguments, "objective": objective, "warm_up": 0.5})
        assert type(trial.elbo) is kind
        assert trial.data.x.shape == (3 * 6 * 4 * 4, 1, 32, 32)
        assert (trial.steps_per_epoch, trial.total_steps) == (6, 12)
        assert trial.apply_schedules(3) == {"beta": 1.5}
        assert trial.apply_schedules(12) == {"beta": 3.0}
        assert trial.elbo.beta == 3.0
        assert trial.optimizer(trial.model.__self__.parameters()).defaults["lr"] == 0.1
    assert trial.elbo.estimator == "stratified_averaged"
    trial = source.build({**SMALL, "estimator": "weighted"})
    assert trial.elbo.estimator == "weighted"


def test_orientations_and_places_are_distinct_and_spread(source: ExperimentFile) -> None:
    grid = source.function.__globals__["grid"](orientations=3, positions=5)
    assert dict(zip(grid.factor_names, grid.factor_sizes, strict=True)) == {
        "shape": 3,
        "scale": 6,
        "orientation": 3,
        "x": 5,
        "y": 5,
    }
    images, factors = grid.materialise()
    heart = (factors[:, 0] == 2) & (factors[:, 1] == 5)
    assert len(images[heart].flatten(1).unique(dim=0)) == 3 * 5 * 5
    rows = torch.arange(32.0)
    places = [images[(factors == torch.tensor([0, 0, 0, 0, y])).all(1)][0, 0] for y in range(5)]
    centres = torch.stack([place.sum(1) @ rows / place.sum() for place in places])
    # of the 32 positions, which are half a pixel apart, these are the 0th, 6th, 12th, 19th, 25th
    torch.testing.assert_close(
        centres - centres[0], torch.tensor([0.0, 3, 6, 9.5, 12.5]), atol=0.51, rtol=0
    )
    assert source.function.__globals__["grid"](size=16).image_shape == (1, 16, 16)


@pytest.mark.full(but=["beta"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_short_training_finds_the_sprites(
    source: ExperimentFile, tmp_path: Path, objective: str
) -> None:
    torch.manual_seed(0)
    arguments = {**SMALL, "objective": objective, "epochs": 20, "batch_size": 48, "lr": 0.01}
    history = train(source.build(arguments), tmp_path / "run").history
    nothing_known = 1024 * math.log(0.5)
    assert history["elbo"][0] == pytest.approx(nothing_known, rel=0.1)
    assert history["elbo"][-10:].mean() > 0.3 * nothing_known


@pytest.mark.full
def test_a_second_start_trains_only_what_is_missing(script: ModuleType, tmp_path: Path) -> None:
    words = ["--out", str(tmp_path), "--seeds", "2", "--epochs", "1", "--positions", "3"]
    result = CliRunner().invoke(script.app, words)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "table.md").read_text()
    assert text in result.output
    heading, _, *lines = text.splitlines()
    assert len(lines) == 3
    assert all(line.count("|") == heading.replace("\\|", "").count("|") for line in lines)
    assert all(line.count(" ± ") == 7 for line in lines)

    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoint.pt")}
    assert len(written) == 6
    missing = next(iter(written))
    for path in missing.parent.iterdir():
        path.unlink()
    again = CliRunner().invoke(script.app, words)
    assert again.output == result.output
    kept = {path for path in written if path.stat().st_mtime_ns == written[path]}
    assert kept == set(written) - {missing}


class Told(nn.Module):
    """Encodings that tell x in dimension 0, y in 1 and 2, the scale in 3, and else nothing."""

    def __init__(self, factors: dict[str, torch.Tensor]):
        super().__init__()
        columns = [factors[name] for name in ("x", "y", "y", "scale")]
        self.loc = torch.zeros(len(columns[0]), 10)
        self.loc[:, :4] = torch.stack(columns, 1)

    def forward(self, x: torch.Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.loc, 0.01).to_event(1)


def test_what_is_measured_of_codes_that_are_known(script: ModuleType, tmp_path: Path) -> None:
    _, _, run = next(script.members(tmp_path, 1, 1, 3))
    factors = dict(zip(run.experiment.factor_names, run.experiment.factors.T, strict=True))
    run.model.__self__.encoder = Told(factors)
    row = script.measure(run, 0)
    # gaps: x and scale are told by one dimension alone, y by two alike; the shape is left out
    assert row["mig"] == pytest.approx(2 / 3, abs=1e-3)
    assert row["active_units"] == 4
    assert row["mutual_information"] == pytest.approx(math.log(3 * 3 * 6), abs=0.02)
    assert row["total_correlation"] == pytest.approx(math.log(3), abs=0.02)
    kl = row["mutual_information"] + row["total_correlation"] + row["dimensionwise_kl"]
    assert row["elbo"] == pytest.approx(row["log_likelihood"] - kl, abs=0.5)
