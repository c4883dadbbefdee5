import numpy as np
import pytest

from pyro_decomp.plots import prior_samples


def uniform(*shape, seed=0):
    return np.random.default_rng(seed).uniform(size=shape)


def test_points_stand_beside_the_data_on_common_axes():
    samples, data = uniform(30, 2), 3 * uniform(20, 2, seed=1)
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
    samples = uniform(4000, 2)
    (axes,) = prior_samples(samples).axes
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), samples[::2])
    assert axes.get_title() == "prior samples: 2000 of 4000"


def test_images_are_a_square_each():
    samples, data = uniform(100, 1, 20, 20), uniform(5, 1, 20, 20, seed=1)
    first, second = prior_samples(samples, data).axes
    mosaic = first.images[0].get_array()
    assert mosaic.shape == (8 * 21 - 1, 8 * 21 - 1)
    np.testing.assert_allclose(mosaic[21:41, :20], samples[8 * 100 // 64, 0])
    np.testing.assert_allclose(second.images[0].get_array()[:20, 84:104], data[4, 0])
    assert [first.get_title(), second.get_title()] == ["prior samples: 64 of 100", "5 data"]


def test_tiles_of_samples_and_data_have_one_size():
    figure = prior_samples(uniform(64, 20, 20), uniform(20, 20, 20, seed=1))
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


def test_vectors_share_one_colour_scale():
    samples, data = uniform(9, 5), 3 * uniform(4, 5, seed=1)
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
def test_errors(samples, data, message):
    with pytest.raises(ValueError, match=message):
        prior_samples(samples, data)
