import numpy as np
import pytest

from pyro_decomp.plots import contact_sheet

ROWS = [np.random.default_rng(i).uniform(size=(n, 20, 20)) for i, n in enumerate((3, 5, 1))]


def test_rows_of_different_length_with_their_captions():
    (axes,) = contact_sheet(ROWS, ["square", "ellipse", "heart"]).axes
    mosaic = axes.images[0].get_array()
    assert mosaic.shape == (3 * 21 - 1, 5 * 21 - 1)
    for i, row in enumerate(ROWS):
        for j, image in enumerate(row):
            drawn = mosaic[i * 21 : i * 21 + 20, j * 21 : j * 21 + 20]
            np.testing.assert_array_equal(drawn, image)
        assert (mosaic[i * 21 : i * 21 + 20, len(row) * 21 :] == 1).all()
    captions = [label.get_text() for label in axes.get_yticklabels()]
    assert captions == ["square", "ellipse", "heart"]
    np.testing.assert_array_equal(axes.get_yticks(), [9.5, 30.5, 51.5])


def test_headings_stand_over_the_columns():
    (axes,) = contact_sheet(ROWS, list("abc"), headings=list("12345")).axes
    assert [label.get_text() for label in axes.get_xticklabels()] == list("12345")
    assert axes.xaxis.get_tick_params()["labeltop"]


def test_bytes_are_scaled_by_all_rows_together():
    rows = [np.full((1, 4, 4), level, dtype=np.uint8) for level in (0, 51, 255)]
    mosaic = contact_sheet(rows, list("abc")).axes[0].images[0].get_array()
    np.testing.assert_allclose(mosaic[[0, 5, 10], 0], [0, 0.2, 1])


def test_colour():
    image = np.random.default_rng(0).uniform(size=(1, 3, 20, 20))
    mosaic = contact_sheet([image], ["a"]).axes[0].images[0].get_array()
    np.testing.assert_array_equal(mosaic, np.moveaxis(image[0], 0, -1))


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ([], {"captions": []}, "rows: expected at least one row of images, got none"),
        (ROWS, {"captions": ["a"]}, "captions: expected 3 names, got 1"),
        (ROWS, {"headings": ["1"]}, "headings: expected 5 names, got 1"),
        ([*ROWS[:2], np.ones((2, 9, 20))], {}, r"rows\[2\]: expected .*\(20, 20, 1\), got \(9, 20"),
        ([*ROWS[:2], np.ones((2, 2, 9, 9))], {}, r"rows\[2\]: expected at least one image"),
    ],
)
def test_errors(rows, arguments, message):
    with pytest.raises(ValueError, match=message):
        contact_sheet(rows, **{"captions": list("abc"), **arguments})
