import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from pyro_decomp import plots
from pyro_decomp.plots import save_animation, traversal_frames, traversals

AXIS = np.linspace(-2.0, 2.0, 21)
LOG_DENSITY = -(AXIS[None] ** 2 + AXIS[:, None] ** 2)
STEPS = np.arange(200)
FIGURES = {
    "terms": lambda: plots.terms_over_steps(
        {"step": STEPS, "elbo": -1000.0 - STEPS % 7, "kl": 0.01 * (STEPS % 7)}
    ),
    "points": lambda: plots.reconstructions(np.eye(2), np.ones((2, 2))),
    "images": lambda: plots.reconstructions(np.ones((3, 1, 4, 5)), np.zeros((3, 1, 4, 5))),
    "vectors": lambda: plots.reconstructions(np.eye(3), np.ones((3, 3))),
    "density": lambda: plots.aggregate_density(AXIS, AXIS, LOG_DENSITY, LOG_DENSITY),
    "encodings": lambda: plots.encodings(
        np.eye(2), np.stack([np.eye(2)] * 2), AXIS, AXIS, LOG_DENSITY, labels=[0, 1]
    ),
    "grid": lambda: plots.density_grid([[plots.DensityPanel("q", AXIS, AXIS, LOG_DENSITY)] * 2]),
}


@pytest.mark.full(but=["images"])
@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_the_same_figure_has_the_same_bytes(make, tmp_path):
    """Made anew; test_layout.py saves one figure twice."""
    plots.save(make(), tmp_path / "first.png", dpi=20)
    plots.save(make(), str(tmp_path / "anew.png"), dpi=20)
    first = (tmp_path / "first.png").read_bytes()
    assert first == (tmp_path / "anew.png").read_bytes()
    assert b"Software" not in first


@pytest.mark.full(but=["images", "points"])
@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_nothing_is_clipped_at_the_border(make):
    """Every word, tick label and axis lies inside the picture."""
    figure = make()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert min(box.x0, box.y0, width - box.x1, height - box.y1) >= 0


def test_size_is_inches_times_dpi(tmp_path):
    plots.save(Figure(figsize=(3, 2)), tmp_path / "figure.png", dpi=50)
    assert matplotlib.image.imread(tmp_path / "figure.png").shape[:2] == (100, 150)


def test_a_picture_is_replaced(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    plots.save(FIGURES["points"](), path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


@pytest.mark.parametrize(("owner", "failing"), [(os, "fsync"), (Path, "replace")])
def test_a_failing_save_leaves_what_was_there(owner, failing, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(owner, failing, full)
    with pytest.raises(OSError, match="No space left"):
        plots.save(Figure(), path)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_a_figure_that_cannot_be_drawn_leaves_no_file(tmp_path):
    figure = Figure()
    figure.text(0.5, 0.5, r"$\nosuchcommand$")
    with pytest.raises(ValueError, match="nosuchcommand"):
        plots.save(figure, tmp_path / "figure.png")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_does_not_exist(tmp_path):
    with pytest.raises(FileNotFoundError):
        plots.save(Figure(), tmp_path / "nowhere" / "figure.png")


def test_only_png(tmp_path):
    with pytest.raises(
        ValueError, match=r"expected a file name ending in \.png, got 'figure\.pdf'"
    ):
        plots.save(Figure(), tmp_path / "figure.pdf")


@pytest.mark.full
def test_pyplot_is_neither_imported_nor_used(tmp_path):
    """In a process of its own, since other code may import pyplot."""
    program = (
        "import sys, numpy as np\n"
        "from pyro_decomp.plots import reconstructions, save\n"
        "save(reconstructions(np.eye(2), np.eye(2)), sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "import matplotlib.pyplot as plt\n"
        "assert plt.get_fignums() == []\n"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "figure.png"], check=True)


@pytest.mark.full(but=["images", "points", "terms"])
@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_no_figure_stays_open(make):
    import matplotlib.pyplot as plt

    make()
    assert plt.get_fignums() == []


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


@pytest.mark.full
def test_a_figure_of_a_traversal_is_a_frame_too(tmp_path):
    figures = [traversals(np.full((1, 1, 20, 20), level), [0]) for level in (0.0, 1.0)]
    save_animation(figures, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as file:
        assert file.n_frames == 2
