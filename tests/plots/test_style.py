import matplotlib as mpl
import pytest

from pyro_decomp.plots.style import STYLE, add_legend, evenly_spaced, new_figure, styled


@pytest.mark.parametrize("size", [1, 7, 40, 41, 1000])
def test_evenly_spreads_over_everything_in_order(size):
    kept = evenly_spaced(size, 40)
    assert len(kept) == min(size, 40)
    assert kept[0] == 0
    gaps = [*(kept[1:] - kept[:-1]), size - kept[-1]]
    assert min(gaps) >= 1
    assert max(gaps) - min(gaps) <= 1


def test_the_style_is_in_force_only_inside():
    before = dict(mpl.rcParams)

    @styled
    def labelled():
        figure = new_figure(2.0, 1.0)
        figure.add_subplot().set_xlabel("x")
        return figure

    for _ in range(2):
        assert labelled().axes[0].xaxis.label.get_fontsize() == STYLE["axes.labelsize"]
        assert dict(mpl.rcParams) == before


def test_a_figure_is_laid_out_once():
    @styled
    def labelled():
        figure = new_figure(2.0, 1.0)
        figure.add_subplot().set_ylabel("a long label\nin two lines")
        return figure

    figure = labelled()
    before = figure.axes[0].get_position().bounds
    assert before[0] > 0.2
    figure.draw_without_rendering()
    assert figure.axes[0].get_position().bounds == before


def test_no_names_have_no_legend() -> None:
    figure = new_figure(4.0, 3.0)
    add_legend(figure, [])
    assert not figure.legends
