import numpy as np
import pytest
import torch

from pyro_decomp.plots import prior_samples, reconstructions


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape)


def tile(axes, row, column, size):
    """The image at a row (data and reconstructions counted) and column of the mosaic."""
    (height, width), gap = size, 2
    pair, place = divmod(row, 2)
    top = pair * (2 * height + 3 * gap) + place * (height + gap)
    left = column * (width + gap)
    return axes.images[0].get_array()[top : top + height, left : left + width]


def test_points_are_joined_to_their_reconstructions():
    data, reconstruction = uniform(30, 2), uniform(30, 2, seed=1)
    axes = reconstructions(data, reconstruction).axes[0]
    lines, first, second = axes.collections
    np.testing.assert_array_equal(lines.get_segments(), np.stack([data, reconstruction], axis=1))
    np.testing.assert_array_equal(first.get_offsets(), data)
    np.testing.assert_array_equal(second.get_offsets(), reconstruction)
    assert axes.get_aspect() == 1
    (legend,) = axes.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["data", "reconstruction"]


def test_many_points_are_thinned_out():
    data = uniform(5000, 2)
    axes = reconstructions(data, data).axes[0]
    assert len(axes.collections[0].get_segments()) == 2000
    assert axes.get_title() == "2000 of 5000 points"


@pytest.mark.parametrize("channels", [(), (1,)])
def test_grey_images_alternate_with_their_reconstructions(channels):
    data, reconstruction = uniform(20, *channels, 6, 5), uniform(20, *channels, 6, 5, seed=1)
    axes = reconstructions(data, reconstruction).axes[0]
    for i in (0, 9, 10, 19):
        pair, column = divmod(i, 10)
        for place, images in enumerate((data, reconstruction)):
            np.testing.assert_allclose(
                tile(axes, 2 * pair + place, column, (6, 5)), images[i].reshape(6, 5)
            )
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == ["data", "reconstruction"] * 2
    assert axes.get_title() == "20 images"


def test_row_labels_stand_at_the_middle_of_their_rows():
    axes = reconstructions(uniform(20, 6, 5), uniform(20, 6, 5)).axes[0]
    np.testing.assert_array_equal(axes.get_yticks(), [2.5, 10.5, 20.5, 28.5])


def test_colour_images():
    data, reconstruction = uniform(4, 3, 6, 5), uniform(4, 3, 6, 5, seed=1)
    axes = reconstructions(data, reconstruction).axes[0]
    np.testing.assert_allclose(tile(axes, 0, 2, (6, 5)), data[2].transpose(1, 2, 0))
    np.testing.assert_allclose(tile(axes, 1, 3, (6, 5)), reconstruction[3].transpose(1, 2, 0))


def test_at_most_four_pairs_of_sixteen():
    data = np.arange(128)[:, None, None] / 127 * np.ones((1, 4, 4))
    axes = reconstructions(data, data).axes[0]
    assert axes.images[0].get_array().shape[1] == 16 * 6 - 2
    np.testing.assert_allclose(tile(axes, 6, 15, (4, 4)), 126 / 127)
    assert len(axes.get_yticks()) == 8
    assert axes.get_title() == "64 of 128 images"


def test_intensities_outside_zero_to_one_are_scaled_by_the_data():
    data = np.linspace(-1, 1, 16).reshape(1, 4, 4)
    axes = reconstructions(data, 2 * data).axes[0]
    np.testing.assert_allclose(tile(axes, 0, 0, (4, 4)), (data[0] + 1) / 2)
    np.testing.assert_allclose(tile(axes, 1, 0, (4, 4)), np.clip(data[0] + 0.5, 0, 1))


def test_bytes_and_tensors():
    data = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    axes = reconstructions(data, data).axes[0]
    np.testing.assert_allclose(tile(axes, 1, 0, (16, 16)).ravel(), np.arange(256) / 255)


def test_a_reconstruction_that_is_not_a_number_is_left_white():
    axes = reconstructions(np.zeros((1, 4, 4)), np.full((1, 4, 4), np.nan)).axes[0]
    assert (tile(axes, 1, 0, (4, 4)) == 1).all()


def test_vectors_share_one_colour_scale():
    data, reconstruction = uniform(12, 7), 3 * uniform(12, 7, seed=1)
    first, second, bar = reconstructions(data, reconstruction).axes
    np.testing.assert_array_equal(first.images[0].get_array(), data)
    np.testing.assert_array_equal(second.images[0].get_array(), reconstruction)
    limits = (data.min(), reconstruction.max())
    assert first.images[0].get_clim() == second.images[0].get_clim() == limits
    assert (first.get_title(), second.get_title()) == ("data", "reconstruction")
    assert bar.get_ylabel() == "value"


@pytest.mark.parametrize(
    ("data", "reconstruction", "message"),
    [
        (np.ones((4, 2)), np.ones((4, 3)), r"expected the data's shape \(4, 2\), got \(4, 3\)"),
        (np.ones(4), np.ones(4), r"expected at least one vector .* got shape \(4,\)"),
        (np.ones((4, 2, 5, 5)), np.ones((4, 2, 5, 5)), r"got shape \(4, 2, 5, 5\)"),
        (np.ones((0, 2)), np.ones((0, 2)), r"got shape \(0, 2\)"),
        (np.ones((4, 0)), np.ones((4, 0)), r"got shape \(4, 0\)"),
        ([[np.inf, 1.0]], [[0.0, 1.0]], "data: expected finite numbers"),
    ],
)
def test_errors(data, reconstruction, message):
    with pytest.raises(ValueError, match=message):
        reconstructions(data, reconstruction)


def uniform_images(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape)


def test_points_stand_beside_the_data_on_common_axes():
    samples, data = uniform_images(30, 2), 3 * uniform_images(20, 2, seed=1)
    figure = prior_samples(samples, data)
    for axes, points in zip(figure.axes, (samples, data), strict=True):
        np.testing.assert_array_equal(axes.collections[0].get_offsets(), points)
        assert axes.get_aspect() == 1
        assert axes.get_xlim()[0] < 0.1
        assert axes.get_xlim()[1] > data.max(0)[0]
    assert [axes.get_title() for axes in figure.axes] == ["30 prior samples", "20 data"]
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()


def test_samples_alone_and_many_are_thinned_out():
    samples = uniform_images(4000, 2)
    (axes,) = prior_samples(samples).axes
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), samples[::2])
    assert axes.get_title() == "prior samples: 2000 of 4000"


def test_images_are_a_square_each():
    samples, data = uniform_images(100, 1, 20, 20), uniform_images(5, 1, 20, 20, seed=1)
    first, second = prior_samples(samples, data).axes
    mosaic = first.images[0].get_array()
    assert mosaic.shape == (8 * 21 - 1, 8 * 21 - 1)
    np.testing.assert_allclose(mosaic[21:41, :20], samples[8 * 100 // 64, 0])
    np.testing.assert_allclose(second.images[0].get_array()[:20, 84:104], data[4, 0])
    assert [first.get_title(), second.get_title()] == ["prior samples: 64 of 100", "5 data"]


def test_tiles_of_samples_and_data_have_one_size():
    figure = prior_samples(uniform_images(64, 20, 20), uniform_images(20, 20, 20, seed=1))
    figure.draw_without_rendering()
    pixel = [
        axes.get_window_extent().width / axes.images[0].get_array().shape[1] for axes in figure.axes
    ]
    assert pixel[0] == pytest.approx(pixel[1], rel=1e-6)


def test_the_data_set_the_scale_of_images():
    data = np.linspace(-1, 1, 16).reshape(1, 4, 4)
    first, second = prior_samples(2 * data, data).axes
    np.testing.assert_allclose(second.images[0].get_array(), (data[0] + 1) / 2)
    np.testing.assert_allclose(first.images[0].get_array(), np.clip(data[0] + 0.5, 0, 1))


def test_samples_and_data_share_one_colour_scale():
    samples, data = uniform_images(9, 5), 3 * uniform_images(4, 5, seed=1)
    first, second, bar = prior_samples(samples, data).axes
    np.testing.assert_array_equal(first.images[0].get_array(), samples)
    np.testing.assert_array_equal(second.images[0].get_array(), data)
    assert first.images[0].get_clim() == second.images[0].get_clim() == (samples.min(), data.max())
    assert bar.get_ylabel() == "value"


@pytest.mark.parametrize(
    ("samples", "data", "message"),
    [
        (np.ones(3), None, r"samples: expected at least one vector .*got shape \(3,\)"),
        (np.ones((2, 2, 4, 4)), None, "samples: expected at least one image"),
        (np.ones((2, 3)), np.ones((2, 4)), r"data: expected the samples' shape \(3,\).*got \(4,\)"),
        ([[np.nan, 0.0]], None, "samples: expected finite numbers"),
    ],
)
def test_errors_of_samples(samples, data, message):
    with pytest.raises(ValueError, match=message):
        prior_samples(samples, data)
