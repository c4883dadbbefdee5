import numpy as np
import pytest

from pyro_decomp.plots import codes_against_factors

NAMES = ["shape", "scale", "x", "y"]
FACTORS = np.stack(np.meshgrid(*map(np.arange, (2, 3, 4, 5)), indexing="ij"), -1).reshape(-1, 4)
SHAPE, SCALE, X, Y = FACTORS.T.astype(float)
#: Latents that are x, minus y, scale with its sign by shape, and nothing.
CODES = np.stack([X - 1.5, 2 - Y, (SCALE - 1) * (2 * SHAPE - 1), 0 * X], axis=1)


def curve(axes, row, line, limit, lines=1):
    """The codes that a line in a row shows; each row begins with its zero line."""
    drawn = [one for one in axes.lines if len(one.get_xdata()) > 2 or one.get_marker() == "."]
    x, y = drawn[row * lines + line].get_data()
    return x, (row - y) * limit / 0.45


def test_curves_are_the_mean_codes_at_each_value():
    figure = codes_against_factors(CODES, FACTORS, NAMES)
    assert [axes.get_title() for axes in figure.axes] == NAMES
    # The greatest that is drawn is the mean plus one standard deviation: of y over x's values.
    limit = 2.0
    assert figure.get_supxlabel() == "curves: a row from \N{MINUS SIGN}2 to 2"
    for axes, factor, means in zip(
        figure.axes,
        (SHAPE, SCALE, X, Y),
        ([0, 0], [0, 0, 0], np.arange(4) - 1.5, np.zeros(5)),
        strict=True,
    ):
        x, codes = curve(axes, 0, 0, limit)
        np.testing.assert_array_equal(x, np.unique(factor))
        np.testing.assert_allclose(codes, means, atol=1e-12)
    np.testing.assert_allclose(curve(figure.axes[3], 1, 0, limit)[1], [2, 1, 0, -1, -2])


def test_the_band_is_one_standard_deviation_at_each_value():
    axes = codes_against_factors(CODES, FACTORS, NAMES).axes[2]
    (band,) = axes.collections[1].get_paths()  # minus y over x, on a scale of 2
    heights = (1 - band.vertices[:, 1]) * 2 / 0.45
    np.testing.assert_allclose([heights.min(), heights.max()], [-np.sqrt(2), np.sqrt(2)])
    (band,) = axes.collections[0].get_paths()  # x over x
    x, y = band.vertices.T
    np.testing.assert_allclose(-y * 2 / 0.45, x - 1.5, atol=1e-12)


def test_a_map_has_the_first_factor_to_the_right_and_the_second_upwards():
    figure = codes_against_factors(CODES, FACTORS, NAMES, pairs=[("x", "y")])
    axes = figure.axes[0]
    first, second = axes.images[:2]
    np.testing.assert_allclose(first.get_array(), np.tile(np.arange(4) - 1.5, (5, 1)))
    np.testing.assert_allclose(second.get_array(), np.tile(2.0 - np.arange(5)[:, None], (1, 4)))
    assert {image.origin for image in axes.images} == {"lower"}
    assert first.get_clim() == second.get_clim() == (-2, 2)
    figure.draw_without_rendering()
    pixels = axes.transData.transform([[0, extent] for extent in first.get_extent()[2:]])
    assert pixels[0, 1] < pixels[1, 1]
    assert second.get_extent()[2:] == pytest.approx((1.45, 0.55))
    assert [axes.get_title() for axes in figure.axes[1:]] == ["shape", "scale"]


def test_a_map_is_grey_where_there_are_no_data():
    kept = ~((X == 1) & (Y == 2))
    figure = codes_against_factors(CODES[kept], FACTORS[kept], NAMES, pairs=[("x", "y")])
    cells = np.ma.getmaskarray(figure.axes[0].images[0].get_array())
    assert np.argwhere(cells).tolist() == [[2, 1]]


def test_curves_by_another_factor():
    figure = codes_against_factors(CODES, FACTORS, NAMES, by="shape", pairs=[("x", "y")])
    assert figure.axes[1].get_title() == "scale"
    for line, sign in enumerate((-1, 1)):
        _, codes = curve(figure.axes[1], 2, line, 1.0, lines=2)
        np.testing.assert_allclose(codes, sign * np.array([-1, 0, 1]))
    assert not figure.axes[1].collections
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["shape 0", "shape 1"]
    first, second = figure.axes[1].lines[-2:]
    assert first.get_color() != second.get_color()


def test_rows_from_the_most_informative_down():
    figure = codes_against_factors(
        CODES, FACTORS, NAMES, information=[1.0, 3.0, 2.0, 0.0], most=3, pairs=[("x", "y")]
    )
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"$z_{{{i}}}$\n{n}.00 nats" for i, n in ((2, 3), (3, 2), (1, 1))]
    np.testing.assert_allclose(figure.axes[0].images[2].get_array()[0], np.arange(4) - 1.5)
    assert figure.axes[0].get_ylim() == (2.5, -0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"codes": CODES[0]}, r"codes: expected shape \(n, d\) with n, d >= 1, got \(4,\)"),
        ({"codes": CODES[1:]}, "factors: expected 119 rows as in codes, got 120"),
        ({"codes": np.full((120, 4), np.inf)}, "codes: expected finite numbers"),
        ({"factor_names": ["a"]}, "factor_names: expected 4 names, got 1"),
        ({"pairs": [("x", "z")]}, r"pairs, by: expected names among \['shape', .* got 'z'"),
        ({"by": "colour"}, "pairs, by: expected names among .* got 'colour'"),
        ({"factors": FACTORS[:, :1], "factor_names": ["a"], "by": "a"}, "expected a factor beside"),
        ({"factors": np.arange(480).reshape(120, 4), "by": "x"}, "'x': expected at most 10 .* 120"),
        ({"information": [1.0]}, r"information: expected shape \(4,\), got \(1,\)"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        codes_against_factors(
            **{"codes": CODES, "factors": FACTORS, "factor_names": NAMES, **arguments}
        )


def test_a_factor_with_too_many_values():
    factor = np.arange(201.0)[:, None]
    with pytest.raises(ValueError, match="'f': expected at most 200 different values, got 201"):
        codes_against_factors(factor, factor, ["f"])
