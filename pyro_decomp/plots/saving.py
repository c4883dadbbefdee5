"""Figures and animations to files, each of which is there wholly or not at all."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from pyro_decomp import arguments
from pyro_decomp.errors import ArgumentError, write_whole
from pyro_decomp.plots.style import DPI, STYLE

#: Colours that all frames share: fewer make a smaller file.
COLOURS = 96

Frames = UInt8[np.ndarray, "frames height width 3"]


def save(figure: Figure, path: str | os.PathLike[str], dpi: int = DPI) -> None:
    """Write a figure as PNG: wholly or not at all, and the same bytes for the same figure.

    Args:
        figure: What to write.
        path: A file name ending in ``.png`` in a folder that exists; a file of that name is
            replaced.
        dpi: Pixels per inch.

    Raises:
        ArgumentError: If ``path`` does not end in ``.png``.
        OSError: If the file cannot be written; what was there before stays.
    """
    arguments.annotated(save, locals(), dpi=1)
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise ArgumentError(f"path: expected a file name ending in .png, got {target.name!r}")
    write_whole(target, png(figure, dpi))


@mpl.rc_context(STYLE)
def png(figure: Figure, dpi: int = DPI) -> bytes:
    """Internal. The PNG file of a figure, the same bytes for the same figure."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi, metadata={"Software": None})
    return picture.getvalue()


def save_animation(
    frames: Frames | Sequence[Figure],
    path: str | os.PathLike[str],
    *,
    seconds: float = 0.12,
    back: bool = True,
) -> None:
    """Write frames as an animated GIF that repeats for ever: wholly or not at all.

    All frames share 96 colours, each within 3 of 255 where there are no more, and only what changes
    between two is stored, which keeps the file small; the same frames give the same bytes.

    Args:
        frames: Colours from 0 to 255 [frames, height, width, 3], as from :func:`traversal_frames`,
            or figures of one size.
        path: A file name ending in ``.gif`` in a folder that exists; a file of that name is
            replaced.
        seconds: How long each frame stays; whole hundredths are kept.
        back: Go back through the frames after the last, so that nothing jumps.

    Raises:
        ArgumentError: If ``path`` does not end in ``.gif``, there is no frame, the frames' shape is
            not as above, or ``seconds`` is below 0.02.
        OSError: If the file cannot be written; what was there before stays.
    """
    arguments.annotated(save_animation, locals())
    target = Path(path)
    if target.suffix.lower() != ".gif":
        raise ArgumentError(f"path: expected a file name ending in .gif, got {target.name!r}")
    if not seconds >= 0.02:
        raise ArgumentError(f"seconds: expected at least 0.02, got {seconds:g}")
    pixels = _pixels(frames)
    order = [*range(len(pixels))]
    order += order[-2:0:-1] if back else []

    images = _paletted(pixels)
    animation = io.BytesIO()
    images[0].save(
        animation,
        format="GIF",
        save_all=True,
        append_images=[images[i] for i in order[1:]],
        duration=10 * round(100 * float(seconds)),
        loop=0,
        optimize=True,
    )
    write_whole(target, animation.getbuffer())


def _paletted(pixels: Frames) -> list[Image.Image]:
    """Reduce all frames to the colours that they share, white among them.

    Pillow looks the nearest colour up by six bits a channel: with more, white would turn grey.
    """
    coarse = pixels & 0b11111100
    other = coarse[1:] != coarse[:1]
    changed = other[..., 0] | other[..., 1] | other[..., 2]
    seen = np.concatenate([coarse[0].reshape(-1, 3), coarse[1:][changed]])  # what stays, once
    shared = Image.fromarray(seen[None]).quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
    colours = np.array(shared.getpalette(), dtype=np.uint8).reshape(-1, 3)
    if (coarse[..., 0] & coarse[..., 1] & coarse[..., 2] == 0b11111100).any():
        colours[colours.sum(axis=1).argmax()] = 0b11111100
    shared.putpalette(colours.ravel().tolist())
    images = [
        Image.fromarray(frame).quantize(palette=shared, dither=Image.Dither.NONE)
        for frame in coarse
    ]
    for image in images:
        image.putpalette((colours | colours >> 6).ravel().tolist())
    return images


def _pixels(frames: Frames | Sequence[Figure]) -> Frames:
    if isinstance(frames, np.ndarray):
        pixels: np.ndarray = frames
    else:
        drawn = [_rendered(figure) for figure in frames]
        sizes = sorted({picture.shape[1::-1] for picture in drawn})
        if len(sizes) > 1:
            raise ArgumentError(f"frames: expected figures of one size, got {sizes} pixels")
        pixels = np.stack(drawn) if drawn else np.empty((0, 0, 0, 3), dtype=np.uint8)
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3 or not pixels.size:
        raise ArgumentError(
            "frames: expected at least one frame of bytes (frames, height, width, 3), "
            f"got {pixels.dtype} of shape {pixels.shape}"
        )
    return pixels


def _rendered(figure: Figure) -> UInt8[np.ndarray, "height width 3"]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]
