import numpy as np
import pytest

from pyro_decomp.plots import terms_over_steps


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes]


def noisy(n=500):
    noise = np.random.default_rng(0).standard_normal(n)
    return np.arange(1, n + 1), noise


def test_a_panel_for_each_column_that_changes():
    history = {
        "step": [1, 2, 3],
        "epoch": [1, 2, 3],
        "objective": [-5.0, -4.0, -3.5],
        "log_likelihood": [-3.0, -2.0, -1.5],
        "alpha": [1.0, 1.0, 1.0],
        "missing": [np.nan] * 3,
        "grad_norm": [1.0, np.nan, 2.0],
    }
    figure = terms_over_steps(history, units={"grad_norm": ""})
    assert titles(figure) == ["objective (nats)", "log likelihood (nats)", "grad norm"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["step"] * 3
    np.testing.assert_array_equal(
        figure.axes[0].lines[0].get_xydata(), [[1, -5.0], [2, -4.0], [3, -3.5]]
    )


def test_means_over_epochs_and_held_out_values_are_in_the_panel_of_their_column():
    steps, noise = noisy(60)
    nan = np.where(steps % 10 == 0, steps / 10, np.nan)
    history = {"step": steps, "elbo": noise, "epoch_elbo": nan, "test_elbo": -nan, "other": nan}
    figure = terms_over_steps(history)
    assert titles(figure) == ["elbo (nats)", "other (nats)"]
    every, means, held_out = figure.axes[0].lines
    np.testing.assert_array_equal(every.get_ydata(), noise)
    known = steps[steps % 10 == 0]
    np.testing.assert_array_equal(means.get_xydata(), np.stack([known, known / 10], 1))
    np.testing.assert_array_equal(held_out.get_xydata(), np.stack([known, -known / 10], 1))
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "held-out data"
    low, high = figure.axes[0].get_ylim()
    assert low <= -6 < high
    (sparse,) = figure.axes[1].lines
    np.testing.assert_array_equal(sparse.get_xydata(), np.stack([known, known / 10], 1))


def test_only_the_lowest_panel_of_a_column_names_the_steps():
    history = {"step": [1, 2], **{name: [0.0, 1.0] for name in "abcde"}}
    figure = terms_over_steps(history)
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "step", "step", "step"]


def test_another_column_can_be_the_steps():
    figure = terms_over_steps({"seconds": [0.5, 1.5], "kl": [1.0, 2.0]}, step="seconds")
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xdata(), [0.5, 1.5])
    assert figure.axes[0].get_xlabel() == "seconds"


def test_one_row():
    figure = terms_over_steps({"step": [7], "elbo": [-3.0], "kl": [1.0]})
    assert titles(figure) == ["elbo (nats)", "kl (nats)"]
    assert figure.axes[0].lines[0].get_marker() == "."
    np.testing.assert_array_equal(figure.axes[0].get_xticks(), [7])


def test_noise_is_smoothed_and_still_shown():
    steps, noise = noisy()
    (axes,) = terms_over_steps({"step": steps, "kl": 2 + noise}).axes
    raw, smooth = axes.lines
    np.testing.assert_array_equal(raw.get_ydata(), 2 + noise)
    assert raw.get_alpha() < 0.5
    assert np.std(smooth.get_ydata()) < 0.5 * np.std(noise)
    assert abs(np.mean(smooth.get_ydata()) - 2) < 0.1


def test_smoothing_keeps_a_straight_line():
    steps = np.arange(200.0)
    (axes,) = terms_over_steps({"step": steps, "kl": 3 * steps}).axes
    inside = slice(10, -10)
    np.testing.assert_allclose(axes.lines[1].get_ydata()[inside], 3 * steps[inside])


def test_smoothing_passes_over_what_is_not_finite():
    steps, noise = noisy()
    values = np.where(steps % 10 == 0, np.nan, 2 + noise)
    (axes,) = terms_over_steps({"step": steps, "kl": values}).axes
    assert np.isfinite(axes.lines[1].get_ydata()).all()


def test_the_transient_is_cut_off_and_written_down():
    steps, noise = noisy()
    values = -2 + 0.1 * noise
    values[:20] -= 700 * np.exp(-np.arange(20))
    (axes,) = terms_over_steps({"step": steps, "elbo": values}).axes
    low, high = axes.get_ylim()
    settled = values[50:]
    assert -4 < low < settled.min()
    assert settled.max() < high < 0
    (note,) = axes.texts
    assert note.get_text() == f"↓ \N{MINUS SIGN}{-values[0]:.4g} at 1"


def test_a_spike_is_written_down():
    steps, noise = noisy()
    values = np.abs(noise)
    values[400] = 1000.0
    (axes,) = terms_over_steps({"step": steps, "grad_norm": values}).axes
    assert axes.get_ylim()[1] < 20
    assert [note.get_text() for note in axes.texts] == ["↑ 1000 at 401"]
    assert axes.texts[0].get_horizontalalignment() == "right"


def test_a_steady_curve_is_shown_whole():
    steps = np.arange(500.0)
    values = np.sqrt(steps)
    (axes,) = terms_over_steps({"step": steps, "kl": values}).axes
    assert axes.get_ylim()[0] < values.min()
    assert axes.get_ylim()[1] > values.max()
    assert not axes.texts


def test_a_very_long_history_keeps_its_extremes():
    values = np.random.default_rng(0).standard_normal(100_000)
    (axes,) = terms_over_steps({"step": np.arange(100_000), "kl": values}).axes
    raw = axes.lines[0].get_ydata()
    assert len(raw) == 2000
    assert (raw.min(), raw.max()) == (values.min(), values.max())


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"kl": [1.0]}, r"expected a column 'step', got \['kl'\]"),
        ({"step": [1], "kl": [1.0, 2.0]}, r"'kl'.*expected one number for each .* got 2 for 1"),
        ({"step": [], "kl": []}, "got 0 for 0 steps"),
        ({"step": [1], "kl": ["low"]}, r"'kl'.*expected numbers, got \['low'\]"),
        ({"step": [1], "kl": [[1.0]]}, r"'kl'.*expected shape \(n,\), got \(1, 1\)"),
        ({"step": [1], "epoch": [1]}, r"expected a column of finite numbers, got \['epoch'\]"),
    ],
)
def test_errors(history, message):
    with pytest.raises(ValueError, match=message):
        terms_over_steps(history)
