"""The sparse prior over alpha and gamma: trained, resumed, measured, tabulated."""

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from pyro_decomp.data import as_data
from pyro_decomp.data.mnist import DEBIAN_FOLDER

EXAMPLES = Path(__file__).parents[2] / "examples"
WORDS = ["--epochs", "1", "--limit", "20"]

pytestmark = pytest.mark.skipif(
    not DEBIAN_FOLDER.exists(), reason="needs Debian's package dataset-fashion-mnist"
)


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        path = EXAMPLES / "sparse_fashion_mnist_table.py"
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def test_the_grid_is_the_corners_and_middle_of_the_figure(script: ModuleType) -> None:
    assert set(script.GRID) == {(a, g) for a in (0.0, 100.0, 1000.0) for g in (0.0, 0.8)}


@pytest.mark.full
def test_a_second_start_trains_only_what_is_missing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script, "GRID", [(0.0, 0.0), (1000.0, 0.8)])
    words = ["--out", str(tmp_path / "out"), *WORDS]
    result = CliRunner().invoke(script.app, words)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "out" / "table.md").read_text()
    assert text in result.output
    heading, _, *lines = text.splitlines()
    assert [line.split("|")[1:3] for line in lines] == [[" 0 ", " 0 "], [" 1000 ", " 0.8 "]]
    assert all(line.count("|") == heading.replace("\\|", "").count("|") for line in lines)

    missing, kept = sorted((tmp_path / "out").rglob("checkpoint.pt"))
    for path in missing.parent.iterdir():
        path.unlink()
    written = kept.stat().st_mtime_ns
    again = CliRunner().invoke(script.app, words)
    assert again.output == result.output
    assert missing.exists()
    assert kept.stat().st_mtime_ns == written


class Projection(nn.Module):
    """Codes of white noise that are themselves white noise, times ``scale``."""

    def __init__(self, scale: float):
        super().__init__()
        self.scale = scale
        self.axes = torch.linalg.qr(torch.randn(1024, 50)).Q

    def forward(self, x: torch.Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.scale * x.flatten(-3) @ self.axes, 0.05).to_event(1)


@pytest.mark.full
def test_what_is_measured_of_codes_that_are_known(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(script, "GRID", [(0.0, 0.0)])
    ((_, _, run),) = script.members(tmp_path / "out", 1, 1, 20)
    run.experiment.test_data = as_data(torch.randn(1000, 1, 32, 32))
    vae = run.model.__self__
    vae.encoder = Projection(1.0)
    like_the_prior = script.measure(run, 0)
    # E |u_1| of a random direction in d dimensions, d times, is the mean of |z|_1 / |z|_2
    d = 50
    ratio = d * math.exp(math.lgamma(d / 2) - math.lgamma((d + 1) / 2)) / math.pi**0.5
    sparsity = (d**0.5 - ratio) / (d**0.5 - 1)
    assert like_the_prior["sparsity"] == pytest.approx(sparsity, abs=0.005)
    kl = d * (0.05**2 + 1 - 1 - 2 * math.log(0.05)) / 2
    assert like_the_prior["kl"] == pytest.approx(kl, rel=0.01)
    assert abs(like_the_prior["divergence"]) < 0.1
    vae.encoder = Projection(0.5)
    narrow = script.measure(run, 0)
    assert narrow["sparsity"] == pytest.approx(sparsity, abs=0.005)  # whatever the scale
    assert narrow["divergence"] > 1
