import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from pyro_decomp.plots import save_animation, traversal_frames, traversals

GREYS = np.array([0, 100, 180, 255], dtype=np.uint8)
FRAMES = np.broadcast_to(GREYS[:, None, None, None], (4, 8, 10, 3))


def read(path):
    with Image.open(path) as file:
        frames = [
            frame.convert("RGB").getpixel((3, 3))[0] for frame in ImageSequence.Iterator(file)
        ]
        return frames, file.info, file.size


def test_frames_go_forth_and_back_for_ever(tmp_path):
    save_animation(FRAMES, tmp_path / "a.gif", seconds=0.2)
    frames, info, size = read(tmp_path / "a.gif")
    np.testing.assert_allclose(frames, [0, 100, 180, 255, 180, 100], atol=3)
    assert (frames[0], frames[3]) == (0, 255)
    assert (info["duration"], info["loop"], size) == (200, 0, (10, 8))


def test_frames_forth_only(tmp_path):
    save_animation(FRAMES, tmp_path / "a.gif", back=False)
    np.testing.assert_allclose(read(tmp_path / "a.gif")[0], GREYS, atol=3)


def test_one_frame_is_a_still(tmp_path):
    save_animation(FRAMES[1:2], tmp_path / "a.gif")
    np.testing.assert_allclose(read(tmp_path / "a.gif")[0], [100], atol=3)


def test_figures(tmp_path):
    figures = [Figure(figsize=(1, 0.5), dpi=40, facecolor=str(grey)) for grey in (0.0, 1.0)]
    save_animation(figures, tmp_path / "a.gif")
    assert read(tmp_path / "a.gif")[::2] == ([0, 255], (40, 20))


def test_the_same_frames_have_the_same_bytes_and_replace_what_was_there(tmp_path):
    (tmp_path / "b.gif").write_bytes(b"old")
    for name in "ab":
        save_animation(FRAMES, tmp_path / f"{name}.gif")
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.gif", "b.gif"]


@pytest.mark.full
def test_a_traversal_is_small_and_its_paper_white(tmp_path):
    """Ten latents at nine values of 64 x 64: less than a tenth of the pixels' bytes."""
    grid = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, 64)] * 2))
    radii = np.linspace(0.2, 0.9, 9) * np.linspace(0.5, 1, 10)[:, None]
    images = 1 / (1 + np.exp(20 * (grid - radii[..., None, None])))
    frames = traversal_frames(images, np.linspace(-2, 2, 9))
    save_animation(frames, tmp_path / "a.gif")
    assert (tmp_path / "a.gif").stat().st_size < 0.1 * frames.size
    with Image.open(tmp_path / "a.gif") as file:
        assert file.convert("RGB").getpixel((1, 1)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("frames", "arguments", "message"),
    [
        (FRAMES, {"path": "a.png"}, r"path: expected a file name ending in \.gif, got 'a\.png'"),
        (FRAMES, {"seconds": 0.0}, "seconds: expected at least 0.02, got 0"),
        ([], {}, r"frames: expected at least one frame .* got uint8 of shape \(0, 0, 0, 3\)"),
        (
            [Figure(figsize=(1, 1), dpi=10), Figure(figsize=(2, 1), dpi=10)],
            {},
            r"frames: expected figures of one size, got \[\(10, 10\), \(20, 10\)\] pixels",
        ),
    ],
)
def test_errors(frames, arguments, message, tmp_path):
    arguments = {"path": "a.gif", **arguments}
    with pytest.raises(ValueError, match=message):
        save_animation(frames, **{**arguments, "path": tmp_path / arguments["path"]})
    assert not list(tmp_path.iterdir())


def test_a_figure_of_a_traversal_is_a_frame_too(tmp_path):
    figures = [traversals(np.full((1, 1, 20, 20), level), [0]) for level in (0.0, 1.0)]
    save_animation(figures, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as file:
        assert file.n_frames == 2
