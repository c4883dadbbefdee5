"""Every word of every picture is inside it, whole and apart from others of its axis."""

from itertools import pairwise

import numpy as np
import pytest

from pyro_decomp import plots

RNG = np.random.default_rng(0)
FACTOR_NAMES = ["shape", "orientation", "position x", "position y"]
FACTORS = RNG.integers(0, 4, (300, 4))


def information(d):
    return RNG.uniform(0, 12, d)


def codes_picture(d):
    codes = RNG.standard_normal((300, d))
    return plots.codes_against_factors(
        codes, FACTORS, FACTOR_NAMES, pairs=[("position x", "position y")], by="shape",
        information=information(d),
    )  # fmt: skip


PICTURES = {
    "images": lambda d: plots.traversals(
        RNG.uniform(size=(d, 9, 12, 12)), np.linspace(-2.25, 2.25, 9), information=information(d)
    ),
    "quantiles": lambda d: plots.traversals(
        RNG.uniform(size=(d, 4, 12, 12)), RNG.normal(0, 9, (d, 4)), information=information(d)
    ),
    "components": lambda d: plots.traversals(
        RNG.uniform(size=(3, min(d, 10), 5, 12, 12)), np.arange(5), components=["a", "b", "long"]
    ),
    "vectors": lambda d: plots.traversals(
        RNG.normal(0, 1000, (d, 4, 20)), np.arange(4), information=information(d)
    ),
    "points": lambda d: plots.traversals(RNG.uniform(size=(d, 4, 2)), RNG.normal(0, 1, (d, 4))),
    "codes": codes_picture,
    "mutual information": lambda d: plots.mutual_information(
        RNG.uniform(size=(d, 4)), FACTOR_NAMES, entropies=np.ones(4)
    ),
    "magnitudes": lambda d: plots.code_magnitudes(RNG.standard_normal((300, d)), FACTORS[:, 0]),
    "sheet": lambda d: plots.contact_sheet(
        [RNG.uniform(size=(6, 12, 12))] * d, [f"the caption of row {i}" for i in range(d)]
    ),
    "samples": lambda d: plots.prior_samples(
        RNG.uniform(size=(d, 12, 12)), RNG.uniform(size=(100, 12, 12))
    ),
    "trade-offs": lambda d: plots.trade_offs(
        [plots.TradeOff(f"method {i}", np.arange(d), RNG.uniform(size=d)) for i in range(3)],
        "x",
        "y",
    ),
    "boxes": lambda d: plots.box_plots(
        [f"group {i}" for i in range(d)],
        [plots.Boxes(f"method {i}", [*RNG.normal(size=(d, 5))]) for i in range(2)],
        "beta",
        "MIG",
    ),
    "scatter": lambda d: plots.scatter(
        [plots.Points(f"method {i}", *RNG.normal(size=(2, d)), np.arange(d)) for i in range(3)],
        "TC (nats)",
        "MIG",
        weight_label="larger: higher beta",
    ),
}  # fmt: skip


SIZES = [
    *((name, 10) for name in PICTURES),
    *((name, 2) for name in ("images", "points", "codes", "mutual information", "samples")),
    *((name, 50) for name in ("quantiles", "mutual information")),
]


@pytest.mark.full(but=["samples-10", "images-10"])
@pytest.mark.parametrize(("name", "d"), SIZES)
def test_nothing_is_clipped_and_no_tick_labels_overlap(name, d):
    figure = PICTURES[name](d)
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            words = [
                label.get_window_extent()
                for label in axis.get_ticklabels()
                if label.get_text() and label.get_visible()
            ]
            words.sort(key=lambda box: (box.x0, box.y0))
            assert not any(a.overlaps(b) for a, b in pairwise(words))


@pytest.mark.full(but=["samples"])
@pytest.mark.parametrize("name", ["images", "points", "codes", "samples"])
def test_a_figure_saved_twice_has_the_same_bytes(name, tmp_path):
    figure = PICTURES[name](2)
    for file in ("first.png", "second.png"):
        plots.save(figure, tmp_path / file, dpi=20)
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
