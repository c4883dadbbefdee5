from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection

from pyro_decomp.plots import traversal_frames, traversals

VALUES = np.linspace(-2.0, 2.0, 5)
MINUS = "\N{MINUS SIGN}"


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape)


def tile(axes, row, column, size=(20, 20)):
    """The image at a row and column; the gap is a twentieth of a tile's width."""
    (h, w), gap = size, 1
    top, left = row * (h + gap), column * (w + gap)
    return axes.images[0].get_array()[top : top + h, left : left + w]


def row_labels(axes):
    return [label.get_text() for label in axes.get_yticklabels()]


def headings(axes):
    return [label.get_text() for label in axes.get_xticklabels()]


def test_each_image_is_at_its_latent_and_value():
    images = uniform(3, 5, 1, 20, 20)
    (axes,) = traversals(images, VALUES).axes
    for i in range(3):
        for j in range(5):
            np.testing.assert_array_equal(tile(axes, i, j), images[i, j, 0])
    assert row_labels(axes) == ["$z_{1}$", "$z_{2}$", "$z_{3}$"]
    assert headings(axes) == [f"{MINUS}2", f"{MINUS}1", "0", "1", "2"]


def test_labels_stand_at_the_middle_of_their_tiles():
    (axes,) = traversals(uniform(3, 5, 20, 20), VALUES).axes
    np.testing.assert_array_equal(axes.get_yticks(), [9.5, 30.5, 51.5])
    np.testing.assert_array_equal(axes.get_xticks(), [9.5, 30.5, 51.5, 72.5, 93.5])


def test_the_most_informative_latent_is_first():
    images = uniform(4, 5, 20, 20)
    information = [0.5, 2.25, 0.0, 3.0]
    (axes,) = traversals(images, VALUES, information=information, names=list("abcd")).axes
    for row, latent in enumerate([3, 1, 0, 2]):
        np.testing.assert_array_equal(tile(axes, row, 2), images[latent, 2])
    assert row_labels(axes) == ["d  3.00 nats", "b  2.25 nats", "a  0.50 nats", "c  0.00 nats"]


def test_only_the_most_informative():
    images = uniform(4, 5, 20, 20)
    figure = traversals(images, VALUES, information=[0.5, 2.25, 0.0, 3.0], most=2)
    np.testing.assert_array_equal(tile(figure.axes[0], 1, 0), images[1, 0])
    assert len(row_labels(figure.axes[0])) == 2
    assert figure.get_suptitle() == "2 of 4 latents"


def test_values_of_their_own_stand_beside_the_rows():
    quantiles = np.array([[-1.0, 0.0, 1.0], [-2.5, 0.5, 4.0]])
    (axes,) = traversals(uniform(2, 3, 20, 20), quantiles, information=[1.0, 2.0]).axes
    assert row_labels(axes) == [
        f"$z_{{2}}$  2.00 nats\n{MINUS}2.5 to 4.0",
        f"$z_{{1}}$  1.00 nats\n{MINUS}1 to 1",
    ]
    assert headings(axes) == []


def test_headings_replace_the_values():
    names = ["5 %", "50 %", "95 %"]
    (axes,) = traversals(uniform(2, 3, 20, 20), uniform(2, 3), headings=names).axes
    assert headings(axes) == names
    assert row_labels(axes) == ["$z_{1}$", "$z_{2}$"]


def test_each_component_has_a_block_in_one_order():
    images = uniform(3, 2, 5, 20, 20)
    figure = traversals(images, VALUES, components=list("ABC"), information=[1.0, 2.0])
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["A", "B", "C"]
    for axes, component in zip(figure.axes, images, strict=True):
        np.testing.assert_array_equal(tile(axes, 0, 4), component[1, 4])
        np.testing.assert_array_equal(tile(axes, 1, 0), component[0, 0])


@pytest.mark.full
def test_fifty_latents_continue_in_a_second_block():
    images = uniform(51, 3, 20, 20)
    figure = traversals(images, [-1, 0, 1])
    blocks = figure.axes
    assert [len(row_labels(axes)) for axes in blocks] == [17, 17, 17]
    np.testing.assert_array_equal(tile(blocks[2], 16, 1), images[50, 1])
    assert len({round(axes.get_position().y1, 6) for axes in blocks}) == 1


def test_a_last_short_block_leaves_white():
    axes = traversals(np.zeros((27, 2, 20, 20)), [0, 1]).axes
    assert [len(row_labels(block)) for block in axes] == [14, 13]
    assert (tile(axes[1], 13, 0) == 1).all()
    assert (tile(axes[1], 12, 0) == 0).all()


def test_colour_images_and_tensors():
    images = torch.rand(2, 3, 3, 20, 20)
    (axes,) = traversals(images, torch.tensor([0.0, 1.0, 2.0])).axes
    np.testing.assert_allclose(tile(axes, 1, 2), images[1, 2].permute(1, 2, 0))


def test_images_beyond_zero_to_one_are_scaled_together():
    images = np.stack([np.full((2, 20, 20), level) for level in (-1.0, 3.0)])
    (axes,) = traversals(images, [0.0, 1.0]).axes
    assert (tile(axes, 0, 0) == 0).all()
    assert (tile(axes, 1, 0) == 1).all()


def test_vectors_are_lines_from_the_first_value_to_the_last():
    vectors = uniform(3, 5, 20)
    panels = traversals(vectors, VALUES, information=[1, 3, 2]).axes[:3]
    assert [axes.get_title() for axes in panels] == [
        f"$z_{{{k}}}$  {k_nats}.00 nats" for k, k_nats in ((2, 3), (3, 2), (1, 1))
    ]
    (lines,) = (c for c in panels[0].collections if isinstance(c, LineCollection))
    for segment, vector in zip(lines.get_segments(), vectors[1], strict=True):
        np.testing.assert_allclose(segment, np.stack([np.arange(1, 21), vector], axis=1))
    assert len({tuple(colour) for colour in lines.get_colors()}) == 5
    assert len({axes.get_ylim() for axes in panels}) == 1
    assert panels[0].get_ylim()[0] < vectors.min() < vectors.max() < panels[0].get_ylim()[1]


def test_points_are_paths_in_a_plane_without_distortion():
    points = uniform(2, 5, 2)
    figure = traversals(points, VALUES, components=None)
    for axes, path in zip(figure.axes[:2], points, strict=True):
        np.testing.assert_array_equal(axes.lines[0].get_xydata(), path)
        np.testing.assert_array_equal(axes.collections[0].get_offsets(), path)
        assert (axes.get_xlabel(), axes.get_title()) != ("", "")
        width, height = axes.get_position().size * figure.get_size_inches()
        spans = np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())
        assert width / spans[0] == pytest.approx(height / spans[1])


def test_components_of_vectors_begin_on_a_row_each():
    figure = traversals(uniform(2, 7, 3, 4), [0, 1, 2], components=["A", "B"])
    panels = figure.axes[:14]
    assert [axes.get_title().split("\n") for axes in panels] == [
        [component, f"$z_{{{k + 1}}}$"] for component in "AB" for k in range(7)
    ]
    first = [panels[0].get_position(), panels[7].get_position()]
    assert first[0].x0 == pytest.approx(first[1].x0)
    assert first[0].y0 > panels[5].get_position().y0 > first[1].y0


def test_frames_show_every_latent_at_each_value():
    levels = np.array([[0.0, 1.0], [1.0, 0.0]])
    frames = traversal_frames(levels[:, :, None, None] * np.ones((20, 20)), [0, 1])
    assert frames.dtype == np.uint8
    assert len(frames) == 2
    height, width = frames.shape[1:3]
    middle = frames[:, height - 30, [width // 4, 3 * width // 4], 0]
    np.testing.assert_array_equal(middle, 255 * levels.T)


@pytest.mark.parametrize("d", [2, 6])
def test_frames_of_vectors_move_a_line(d):
    frames = traversal_frames(uniform(2, 4, d), np.arange(4.0)).astype(int)
    reds = [(frame[..., 0] > 180) & (frame[..., 2] < 60) for frame in frames]
    assert all(red.sum() > 20 for red in reds)
    assert all((a != b).any() for a, b in pairwise(reds))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"decoded": np.ones((2, 3))},
            r"decoded: expected shape \(latents, columns, d\).*\(2, 3\)",
        ),
        ({"decoded": np.ones((2, 3, 2, 9, 9))}, r"decoded: expected at least one image .*2, 9, 9"),
        ({"values": [1, 2]}, r"values: expected shape \(3,\), \(2, 3\) or \(1, 2, 3\), got \(2,\)"),
        ({"values": [0, 1, np.inf]}, "values: expected finite numbers"),
        ({"names": ["a"]}, "names: expected 2 names, got 1"),
        ({"names": "ab"}, "names: expected a sequence of strings or None, got 'ab'"),
        ({"information": [1.0]}, r"information: expected shape \(2,\), got \(1,\)"),
        ({"information": [1.0, np.nan]}, "information: expected finite numbers"),
        ({"headings": ["a"]}, "headings: expected 3 names, got 1"),
        ({"components": ["a"]}, r"decoded: expected shape \(components, latents, columns, d\)"),
        ({"most": 0}, "most: expected a positive whole number, got 0"),
    ],
)
@pytest.mark.parametrize("draw", [traversals, traversal_frames])
def test_errors(draw, arguments, message):
    with pytest.raises(ValueError, match=message):
        draw(**{"decoded": np.ones((2, 3, 4)), "values": [0, 1, 2], **arguments})
