"""Which runs become which curve, box and point."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from pyro_decomp.errors import DataError
from pyro_decomp.sweep import compare
from pyro_decomp.sweep.drawing import Curves, along, boxes, curves, draw, scatter, trade_off
from tests.sweep.grids import write_sweep

NAMES = {"trade_off.png", "boxes.png", "scatter.png"}
BETAS, ALPHAS, SEEDS = (4.0, 1.0, 2.0), (0.0, 1.0), 3


def terms(beta: float, alpha: float, seed: int) -> dict[str, float]:
    return {"elbo": -beta - seed / 8, "kl": 10 * alpha + beta + seed / 4}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    members = {
        f"beta={beta:g},alpha={alpha:g},seed={seed}": terms(beta, alpha, seed)
        for beta in BETAS
        for alpha in ALPHAS
        for seed in range(SEEDS)
    }
    values = {"beta": BETAS, "alpha": ALPHAS}
    write_sweep(tmp_path / "out", values, SEEDS, members)
    return tmp_path / "out"


def drawn(out: Path) -> Curves:
    comparison = compare(out)
    argument = along(comparison)
    return Curves(argument, curves(comparison, argument))


def test_curves_run_along_the_number_with_most_values_in_its_order(out: Path) -> None:
    found = drawn(out)
    assert found.argument == "beta"
    assert [curve.name for curve in found.curves] == ["alpha = 0", "alpha = 1"]
    for curve in found.curves:
        assert [found.value(one) for one in curve.points] == [1.0, 2.0, 4.0]


def test_the_trade_off_has_means_and_bands(out: Path) -> None:
    (axes,) = trade_off(drawn(out), "kl", "elbo").axes
    half = 4.302653 * 0.25 / 3**0.5  # Student's t with two degrees of freedom
    for alpha, line in zip(ALPHAS, axes.lines, strict=True):
        expected = [(-beta - 0.125, 10 * alpha + beta + 0.25) for beta in (1.0, 2.0, 4.0)]
        np.testing.assert_allclose(line.get_xydata(), expected)
    band = axes.patches[0].get_xy()
    assert band[:, 1].min() == pytest.approx(1.25 - half)
    assert band[:, 1].max() == pytest.approx(4.25 + half)
    assert [text.get_text() for text in axes.texts[:3]] == ["1", "2", "4"]
    assert axes.get_xlabel() == "ELBO (nats), last step"


def test_boxes_have_the_runs_of_each_combination(out: Path) -> None:
    figure = boxes(drawn(out), "kl")
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "4"]
    assert axes.get_xlabel() == "beta"
    dots = [collection.get_offsets()[:, 1] for collection in axes.collections]
    expected = [
        [terms(beta, alpha, seed)["kl"] for seed in range(SEEDS)]
        for alpha in ALPHAS
        for beta in (1.0, 2.0, 4.0)
    ]
    np.testing.assert_allclose(dots, expected)


def test_every_run_is_a_point_and_larger_along_the_curve(out: Path) -> None:
    figure = scatter(drawn(out), "kl", "elbo")
    (axes,) = figure.axes
    first = axes.collections[0]
    found = [terms(beta, 0.0, seed) for beta in (1.0, 2.0, 4.0) for seed in range(SEEDS)]
    places = [(t["elbo"], t["kl"]) for t in found]
    wanted = np.reshape(places, (3, SEEDS, 2))[::-1].reshape(-1, 2)  # the large ones are first
    np.testing.assert_allclose(first.get_offsets(), wanted)
    sizes = first.get_sizes().reshape(3, SEEDS)
    assert (np.diff(sizes[:, 0]) < 0).all()
    assert (sizes == sizes[:, :1]).all()
    assert figure.legends[0].get_title().get_text() == "larger: higher beta"


@pytest.mark.full
def test_pictures_are_files(out: Path) -> None:
    found = draw(compare(out), out / "plots")
    assert {path.name for path in found.paths} == NAMES
    assert all(imread(path).shape[-1] == 4 for path in found.paths)
    assert found.left_out == {}


def sweep_of(
    folder: Path, values: Mapping[str, Any], members: Mapping[str, Any], **options: Any
) -> Any:
    write_sweep(folder / "out", values, 1, members, **options)
    return compare(folder / "out")


def y_label(comparison: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, **options: str) -> Any:
    """The labels of what would be drawn."""
    labels = {}

    def save(figure: Any, path: Path) -> None:
        (axes,) = figure.axes
        labels[path.stem] = axes.get_xlabel(), axes.get_ylabel()

    monkeypatch.setattr("pyro_decomp.plots.save", save)
    draw(comparison, folder, **options)
    return labels


def test_the_mig_is_drawn_where_it_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = {"train.mig": 0.1, "train.kl": 3.0, "train.elbo": -1.0, "test.elbo": -2.0}
    comparison = sweep_of(tmp_path, {}, {"seed=0": measured}, metrics=True)
    labels = y_label(comparison, tmp_path, monkeypatch)
    assert labels["trade_off"] == labels["scatter"] == ("ELBO (nats)", "MIG")
    assert labels["boxes"][1] == "MIG"
    labels = y_label(comparison, tmp_path, monkeypatch, metric="kl", against="test.elbo")
    assert labels["scatter"] == ("ELBO (nats), test data", "KL(q(z|x) ‖ p(z)) (nats)")


def test_the_scatter_is_of_mig_and_total_correlation_where_both_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = {"train.mig": 0.1, "train.total_correlation": 3.0, "train.elbo": -1.0}
    comparison = sweep_of(tmp_path, {}, {"seed=0": measured}, metrics=True)
    labels = y_label(comparison, tmp_path, monkeypatch)
    assert labels["scatter"] == ("TC (nats)", "MIG")
    assert labels["trade_off"] == ("ELBO (nats)", "MIG")


def test_a_quantity_that_all_combinations_have_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = {
        "alpha=0,seed=0": {"elbo": -1.0, "kl": 1.0},
        "alpha=1,seed=0": {"elbo": -1.0, "kl": 1.0, "divergence": 2.0},
    }
    comparison = sweep_of(tmp_path, {"alpha": [0.0, 1.0]}, members)
    labels = y_label(comparison, tmp_path, monkeypatch)
    assert labels["boxes"][1] == "KL(q(z|x) ‖ p(z)) (nats), last step"


def test_words_along_no_number_are_a_curve_and_a_box_each(tmp_path: Path) -> None:
    members = {f"name={name},seed=0": {"elbo": -1.0, "kl": 2.0} for name in "ab"}
    comparison = sweep_of(tmp_path, {"name": ["a", "b"]}, members)
    assert along(comparison) is None
    found = Curves(None, curves(comparison, None))
    (axes,) = boxes(found, "kl").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["name = a", "name = b"]
    assert len(trade_off(found, "kl", "elbo").axes[0].lines) == 2


def test_what_cannot_be_drawn_says_why(tmp_path: Path) -> None:
    comparison = sweep_of(tmp_path, {}, {})
    found = draw(comparison, tmp_path / "plots")
    assert found.paths == []
    assert found.left_out == {
        "trade_off.png": "there are not two quantities to draw",
        "boxes.png": "there is no quantity to draw",
        "scatter.png": "there are not two quantities to draw",
    }
    assert not (tmp_path / "plots").exists()
    with pytest.raises(DataError, match="expected a quantity among none, got 'mig'"):
        draw(comparison, tmp_path, metric="mig")


def test_too_many_curves_are_left_out(tmp_path: Path) -> None:
    values = {"alpha": [0.0, 1.0], "name": list("abcdefghijk")}
    members = {
        f"alpha={alpha},name={name},seed=0": {"elbo": -1.0, "kl": 2.0}
        for alpha in (0, 1)
        for name in values["name"]
    }
    found = draw(sweep_of(tmp_path, values, members), tmp_path / "plots")
    assert found.left_out.keys() == NAMES
    reason = "expected at most 10 curves, got 11: compare by fewer arguments"
    assert set(found.left_out.values()) == {reason}
