"""A user's own folder of images, each cut to a square, resized and put into one tensor."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.errors import DataError

ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

_FILES_PER_CHUNK = 256  # read by threads before the first error among them is raised
_MORE_THAN_8_BITS = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_images(
    paths: Sequence[Path],
    *,
    size: int | None,
    grey: bool,
    crop: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "images channels height width"] | UInt8[Tensor, "images channels height width"]:
    """Images in the order of their files.

    Resized bilinearly with antialiasing, on 8 bits, by Pillow. Transparency is dropped.

    Args:
        paths: The files, at least one.
        size: Height and width of the result, to which the largest centred square is resized; as in
            the files, which must then be of one size, if ``None``.
        grey: One channel, the luminance, instead of red, green and blue.
        crop: Cut out a centred square of so many pixels first.
        dtype: ``torch.float32`` for levels in [0, 1], ``torch.uint8`` for levels of 0 to 255.

    Returns:
        The images, in [0, 1] or as levels of 0 to 255; see ``dtype``.

    Raises:
        DataError: A file cannot be read, has more than 8 bits a channel, is smaller than ``crop``,
            or differs in size; or an argument is out of range.
    """
    with arguments.raised_as(DataError):
        arguments.whole(**arguments.given(size=size, crop=crop))
        arguments.flag(grey=grey)
    if dtype not in (torch.float32, torch.uint8):
        raise DataError(f"dtype: expected torch.float32 or torch.uint8, got {dtype!r}")

    def read(path: Path) -> Tensor:
        return _pixels(path, size, grey, crop)

    first = read(paths[0])
    images = torch.empty(len(paths), *first.shape, dtype=dtype)
    with ThreadPoolExecutor() as threads:
        for start in range(0, len(paths), _FILES_PER_CHUNK):
            chunk = paths[start : start + _FILES_PER_CHUNK]
            for index, pixels in enumerate(threads.map(read, chunk), start):
                if pixels.shape != first.shape:
                    raise DataError(
                        f"{paths[index]}: expected {_in_words(first)} as in {paths[0]}, or a size "
                        f"for all, got {_in_words(pixels)}"
                    )
                images[index] = pixels
    return images.div_(255.0) if dtype == torch.float32 else images


def _pixels(path: Path, size: int | None, grey: bool, crop: int | None) -> Tensor:
    try:
        with Image.open(path) as file:
            if file.mode in _MORE_THAN_8_BITS:
                raise DataError(f"{path}: expected 8 bits a channel, got mode {file.mode}")
            image = file.convert("L" if grey else "RGB")
    except _UNREADABLE as error:
        raise DataError(f"{path}: expected a readable image, got: {error}") from error
    shorter = min(image.size)
    if crop is not None and crop > shorter:
        got = f"{image.width} x {image.height}"
        raise DataError(f"{path}: expected at least {crop} x {crop} pixels, got {got}")
    if crop is not None or size is not None:
        image = _centre(image, crop or shorter)
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if grey else pixels.permute(2, 0, 1)


def _centre(image: Image.Image, side: int) -> Image.Image:
    left, top = ((length - side) // 2 for length in image.size)
    return image.crop((left, top, left + side, top + side))


def _in_words(pixels: Tensor) -> str:
    return f"{pixels.shape[-1]} x {pixels.shape[-2]} pixels"


def image_folder(
    path: str | PathLike[str],
    *,
    size: int | None = None,
    grey: bool = False,
    crop: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "images channels height width"] | UInt8[Tensor, "images channels height width"]:
    """All images of a folder and of the folders in it, in the order of their paths.

    Read, cut and resized once: bilinearly, with antialiasing. Transparency is dropped. Labels that
    a data set keeps in the names of its folders can be had from :func:`image_paths`.

    Args:
        path: The folder.
        size: Height and width of the result, to which the largest centred square of each image is
            resized. Without it, all files must be of one size, and stay as they are.
        grey: One channel, the luminance, instead of red, green and blue.
        crop: Cut out a centred square of so many pixels before resizing.
        dtype: ``torch.float32`` for levels in [0, 1]; ``torch.uint8`` for levels of 0 to 255, in a
            quarter of the memory.

    Returns:
        The images, in [0, 1] or as levels of 0 to 255; see ``dtype``.

    Raises:
        DataError: There is no image; a file cannot be read, has more than 8 bits a channel or is
            smaller than ``crop``; sizes differ and ``size`` was not given; or an argument is out of
            range. The message names the file.
    """
    with arguments.raised_as(DataError):
        arguments.annotated(image_folder, locals())
    return read_images(image_paths(path), size=size, grey=grey, crop=crop, dtype=dtype)


def image_paths(path: str | PathLike[str]) -> list[Path]:
    """The paths of the image files behind :func:`image_folder`, in the same order.

    Those whose name ends in one of ``.bmp .jpeg .jpg .pgm .png .ppm .tif .tiff .webp``, in small or
    capital letters, and does not begin with a dot.

    Args:
        path: The folder.

    Returns:
        The paths, sorted.

    Raises:
        DataError: There is no such folder, or no image in it.
    """
    with arguments.raised_as(DataError):
        arguments.annotated(image_paths, locals())
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of images, got no such folder")
    found = sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in ENDINGS and not file.name.startswith(".") and file.is_file()
    )
    if not found:
        raise DataError(f"{folder}: expected images ending in {', '.join(ENDINGS)}, got none")
    return found
