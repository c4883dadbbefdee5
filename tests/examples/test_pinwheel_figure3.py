"""Figure 3's grid: resumed, drawn, tabulated; the trends that it shows (slow)."""

import csv
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from pyro.distributions import Normal
from typer.testing import CliRunner, Result

from pyro_decomp import load, train
from pyro_decomp.training.callbacks import Callback
from pyro_decomp.training.run import Run
from tests.callbacks import Step
from tests.training.test_training_schedules import interrupt_at

SCRIPT = Path(__file__).parents[2] / "examples" / "pinwheel_figure3.py"
SMALL_GRID = [[(0.5, 0.0)], [(0.0, 3.0)]]


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        spec = importlib.util.spec_from_file_location("pinwheel_figure3", SCRIPT)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def start(script: ModuleType, out: Path, *words: str) -> Result:
    return CliRunner().invoke(script.app, ["--out", str(out), "--seeds", "1", *words])


def read(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.full
def test_a_second_start_trains_only_what_is_missing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "GRID", SMALL_GRID)
    result = start(script, tmp_path, "--epochs", "2")
    assert result.exit_code == 0, result.output
    rows = read(tmp_path / "figure3.csv")
    assert [(row["beta"], row["alpha"]) for row in rows] == [(0.5, 0), (0, 3)]
    for row in rows:
        shares = [row[f"mode_share_{mode}"] for mode in range(4)]
        assert sum(shares) == pytest.approx(1)
        assert row["smallest_mode_share"] == min(shares)
        assert row["elbo"] == pytest.approx(row["log_likelihood"] - row["kl"])
    table = [line for line in result.output.splitlines() if line.startswith("|")]
    assert len(table) == 2 + 2
    assert table[3].startswith(f"| 0 | 3 | {rows[1]['divergence']:.4g} |")
    picture = (tmp_path / "figure3.png").read_bytes()
    assert picture.startswith(b"\x89PNG")

    text = (tmp_path / "figure3.csv").read_bytes()
    missing, kept = sorted(tmp_path.glob("*/seed=0/checkpoint.pt"))
    for path in missing.parent.iterdir():
        path.unlink()
    written = kept.stat().st_mtime_ns
    again = start(script, tmp_path, "--epochs", "2")
    assert again.output == result.output
    assert (tmp_path / "figure3.csv").read_bytes() == text
    assert (tmp_path / "figure3.png").read_bytes() == picture
    assert missing.exists()
    assert kept.stat().st_mtime_ns == written

    fewer = start(script, tmp_path, "--epochs", "1")
    assert fewer.exit_code == 1
    assert fewer.stderr.count("\n") == 1
    assert "epochs" in fewer.stderr


@pytest.mark.parametrize("words", [["--seeds", "0"], ["--epochs", "many"], ["--sedes", "3"]])
def test_wrong_words_are_named(script: ModuleType, tmp_path: Path, words: list[str]) -> None:
    result = CliRunner().invoke(script.app, ["--out", str(tmp_path / "out"), *words])
    assert result.exit_code == 2
    assert words[0] in result.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_a_file_is_one_line(script: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("mine")
    result = start(script, out, "--epochs", "1")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert str(out) in result.stderr
    assert out.read_text() == "mine"


def test_ctrl_c_ends_plainly(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: Any, callbacks: Sequence[Callback], **named: Any) -> Run:
        run: Run = train(*given, callbacks=[*callbacks, Step(interrupt_at(3))], **named)
        return run

    monkeypatch.setattr(script, "train", interrupted)
    result = start(script, tmp_path, "--epochs", "10")
    assert result.exit_code == 130
    assert result.stderr.count("\n") == 1
    assert "the same command goes on" in result.stderr
    assert load(tmp_path / "beta=0.01,alpha=0" / "seed=0").step == 3


def test_mode_shares_count_mass(script: ModuleType) -> None:
    locs = torch.tensor([[0.0, 1.0], [0.0, -1.0], [1.0, 0.0], [-1.0, 0.0]])
    spread = script.mode_shares(Normal(locs, 0.1).to_event(1), locs)
    assert spread == [0.25, 0.25, 0.25, 0.25]
    collapsed = script.mode_shares(Normal(locs[2].expand(10, 2), 0.1).to_event(1), locs)
    assert collapsed == [0, 0, 1, 0]


@pytest.mark.slow
def test_overlap_grows_with_beta_and_the_match_with_alpha(
    script: ModuleType, tmp_path: Path
) -> None:
    assert start(script, tmp_path).exit_code == 0
    rows = read(tmp_path / "figure3.csv")
    betas, alphas = rows[:4], rows[4:]
    assert [(row["beta"], row["alpha"]) for row in betas] == [(b, 0) for b in (0.01, 0.5, 1, 1.2)]
    assert [(row["beta"], row["alpha"]) for row in alphas] == [(0, a) for a in (1, 3, 5, 8)]
    sharing = [row["effective_sharing"] for row in betas]
    assert sharing == sorted(sharing)
    assert sharing[2] > 10 * sharing[0]
    divergence = [row["divergence"] for row in alphas]
    assert divergence == sorted(divergence, reverse=True)
    assert divergence[-1] < 0.2 * divergence[0]
    for row in alphas[1:]:  # with alpha of 3 or more
        assert row["smallest_mode_share"] > 0.23
