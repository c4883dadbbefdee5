"""The table of structures: its scores, what is measured of known codes, resumed, drawn."""

import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("structure_table")


@pytest.fixture(scope="module")
def scores(script: ModuleType) -> ModuleType:
    return importlib.import_module("structure_scores")


def test_the_match_is_the_best_of_all_permutations(scores: ModuleType) -> None:
    table = torch.tensor([[0.9, 0.8, 0.0], [0.8, 0.1, 0.0], [0.0, 0.2, 0.3]])
    order, chosen = scores.matched(table)  # 0.8 + 0.8 + 0.3; by the largest first, 0.9 + 0.1 + 0.3
    assert order == [1, 0, 2]
    assert chosen.tolist() == pytest.approx([0.8, 0.8, 0.3])


def test_correlations_of_permuted_flipped_and_constant_codes(scores: ModuleType) -> None:
    sources = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    codes = torch.stack([-2 * sources[:, 2] + 1, torch.ones(1000), sources[:, 0]], 1)
    table = scores.correlations(sources, codes)
    assert table[2, 0].item() == pytest.approx(1)
    assert table[0, 2].item() == pytest.approx(1)
    assert torch.equal(table[:, 1], torch.zeros(3, dtype=torch.float64))


def test_explained_is_blind_to_what_is_done_within_a_group(scores: ModuleType) -> None:
    sources = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))
    within = torch.block_diag(torch.tensor([[0.6, 0.8], [-0.8, 0.6]]), 3 * torch.eye(2))
    swapped = (sources @ within)[:, [2, 3, 0, 1]]
    expected = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    torch.testing.assert_close(scores.explained(sources, swapped, 2), expected, atol=0.01, rtol=0)
    split = sources[:, [0, 2, 1, 3]]  # half of each
    torch.testing.assert_close(
        scores.explained(sources, split, 2), torch.full((2, 2), 0.5), atol=0.03, rtol=0
    )


def test_agreement_is_blind_to_names(scores: ModuleType) -> None:
    true = torch.tensor([0, 0, 1, 1, 2, 2])
    assert scores.agreement((true + 1) % 3, true) == 1
    assert scores.agreement(torch.tensor([0, 0, 0, 1, 2, 2]), true) == pytest.approx(5 / 6)
    assert scores.agreement(torch.zeros(6).long(), true) == pytest.approx(1 / 3)


def test_k_means_finds_clusters_that_are_apart(scores: ModuleType) -> None:
    true = torch.arange(3).repeat(50)
    noise = torch.randn(150, 2, generator=torch.Generator().manual_seed(0))
    assert scores.agreement(scores.k_means(10 * torch.eye(3)[true, :2] + noise, 3), true) == 1


def test_strays_of_the_truth_and_of_a_mixture_with_it(scores: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    data, held_out, good = (torch.randn(2000, 2, generator=generator) for _ in range(3))
    assert scores.strays(good, data, held_out, level=0.99) == pytest.approx(0.01, abs=0.01)
    half = torch.cat([good[:1000], good[:1000] + 100])
    assert scores.strays(half, data, held_out) == pytest.approx(0.5, abs=0.01)


class Known(nn.Module):
    """An encoder of the training data that has been told the codes."""

    def __init__(self, loc: Tensor):
        super().__init__()
        self.loc = loc

    def forward(self, x: Tensor) -> dist.TorchDistribution:
        return dist.Normal(self.loc[: len(x)], 0.1).to_event(1)


def test_what_is_measured_of_codes_that_are_known(script: ModuleType, tmp_path: Path) -> None:
    _, _, run, names = next(script.members("sparsity", tmp_path, 1, 1))
    _, sources = names["bars"](seed=0)
    run.model.__self__.encoder = Known(-sources.roll(1, 1))
    row = script.measures.sparsity(run, names, 0)
    assert row["correlation with own latent"] == pytest.approx(1, abs=1e-4)
    rotation = torch.linalg.qr(torch.randn(11, 11)).Q
    run.model.__self__.encoder = Known(sources @ rotation)
    rotated = script.measures.sparsity(run, names, 0)
    assert rotated["correlation with own latent"] < 0.8
    assert rotated["sparsity (Hoyer)"] < row["sparsity (Hoyer)"] - 0.2


@pytest.mark.parametrize("prior", ["student_t", "isotropic"])
def test_a_rotation_of_dials_costs_only_what_is_not_round(
    script: ModuleType, tmp_path: Path, prior: str
) -> None:
    members = script.members("axes", tmp_path, 1, 1)
    run, names = next((run, names) for _, given, run, names in members if given == prior)
    _, dials = names["sensors"](seed=0)
    run.model.__self__.encoder = Known(3 * dials)
    degrees, change = script.pictures.rotated(run, 0)
    assert degrees[[0, -1]].tolist() == [0, 90]
    if prior == "isotropic":
        torch.testing.assert_close(change, torch.zeros(len(change)), atol=1e-5, rtol=0)
    else:
        assert change[len(change) // 2] < -0.05
        assert change[-1].item() == pytest.approx(0, abs=1e-5)  # the axes, exchanged


@pytest.mark.full
def test_a_second_start_trains_only_what_is_missing(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.measures, "IMPORTANCE_SAMPLES", 2)
    words = ["--out", str(tmp_path), "--seeds", "2", "--epochs", "1"]
    words += ["--only", "sparsity", "--only", "axes"]
    result = CliRunner().invoke(script.app, words)
    assert result.exit_code == 0, result.output
    text = (tmp_path / "table.md").read_text()
    assert text in result.output
    heading, _, *lines = text.splitlines()
    assert len(lines) == 2 + 2 * 2
    assert all(line.count("|") == heading.count("|") for line in lines)
    assert all(line.count(" ± ") == 3 for line in lines)
    for name in ("sparsity", "axes"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("checkpoint.pt")}
    assert len(written) == 2 * (2 + 3)
    missing = next(iter(written))
    for path in missing.parent.iterdir():
        path.unlink()
    assert CliRunner().invoke(script.app, words).output == result.output
    kept = {path for path in written if path.stat().st_mtime_ns == written[path]}
    assert kept == set(written) - {missing}


def test_the_difference_is_taken_within_a_seed(script: ModuleType) -> None:
    rows = {
        "sparsity": {
            "sparse": [{"score": 1.0 + seed} for seed in range(3)],
            "isotropic": [{"score": 0.5 + seed} for seed in range(3)],
        }
    }
    line = script.table(rows).splitlines()[-1]
    t = 4.302653  # of 2 degrees of freedom
    assert line.endswith("| 0.500 ± 0.000 |")
    assert f"2.0 ± {t / math.sqrt(3):.1f}" in line


def test_a_wrong_name_is_told(script: ModuleType, tmp_path: Path) -> None:
    result = CliRunner().invoke(script.app, ["--out", str(tmp_path), "--only", "bars"])
    assert result.exit_code == 2
    assert "bars" in result.stderr
