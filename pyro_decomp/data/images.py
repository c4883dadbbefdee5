"""A user's own folder of images, each cut to a square, resized and put into one tensor."""

import os
import re
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from PIL.ImageFile import ImageFile
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.readable import is_folder, refuse_larger, refuse_unreadable
from pyro_decomp.errors import DataError

ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

_FILES_PER_CHUNK = 256  # read by threads before the first error among them is raised
_MORE_THAN_8_BITS = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_DEEP = re.compile(r";16[BLN]")  # of Pillow's names for what it cuts to 8 bits
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # by content; none runs a program
_BYTES_PER_PIXEL = 8  # while a picture is read and converted


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
        with refuse_unreadable(path, "image"):
            return _pixels(path, size, grey, crop)

    with warnings.catch_warnings(), ThreadPoolExecutor() as threads:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        first = read(paths[0])
        refuse_larger(
            f"{paths[0].parent}: {len(paths)} pictures of {_in_words(first)}",
            len(paths) * first.numel() * dtype.itemsize,
            "give a smaller size, dtype=torch.uint8, or fewer pictures",
        )
        images = torch.empty(len(paths), *first.shape, dtype=dtype)
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
        with Image.open(path, formats=_FORMATS) as file:
            _check_picture(path, file)
            image = file.convert("L" if grey else "RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        got = re.findall(r"\d+", str(error))[0]
        raise DataError(
            f"{path}: expected at most {Image.MAX_IMAGE_PIXELS} pixels, as a small file of more "
            f"may fill the memory, got {got}: make it smaller, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    shorter = min(image.size)
    if crop is not None and crop > shorter:
        got = f"{image.width} x {image.height}"
        raise DataError(f"{path}: expected at least {crop} x {crop} pixels, got {got}")
    if crop is not None or size is not None:
        image = _centre(image, crop or shorter)
    if size is not None:
        refuse_larger(
            f"{path}: a picture of {size} x {size} pixels",
            size * size * _BYTES_PER_PIXEL,
            "give a smaller size",
        )
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(image))
    return pixels[None] if grey else pixels.permute(2, 0, 1)


def _check_picture(path: Path, file: ImageFile) -> None:
    """Check, before its pixels are read, that a file is one picture that fits and of 8 bits."""
    if file.mode in _MORE_THAN_8_BITS:
        raise DataError(f"{path}: expected 8 bits a channel, got mode {file.mode}")
    for decoder, _, _, options in file.tile:
        raw, *others = options if isinstance(options, tuple) else (options,)
        largest = others[0] if decoder.startswith("ppm") and others else 0
        if _DEEP.search(str(raw)) or int(largest) > np.iinfo(np.uint8).max:
            raise DataError(f"{path}: expected 8 bits a channel, got 16 in mode {file.mode}")
    if getattr(file, "is_animated", False) and file.format != "MPO":
        num_frames = getattr(file, "n_frames", "several")
        raise DataError(
            f"{path}: expected one picture, got {num_frames}: save each in a file of its own"
        )
    refuse_larger(
        f"{path}: a picture of {file.width} x {file.height} pixels",
        file.width * file.height * _BYTES_PER_PIXEL,
        "make it smaller",
    )


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
    if not is_folder(folder):
        raise DataError(f"{folder}: expected a folder of images, got no such folder")
    found = sorted(
        Path(place) / name
        for place, _, names in os.walk(folder, onerror=_refuse_folder)
        for name in names
        if Path(name).suffix.lower() in ENDINGS and not name.startswith(".")
    )
    if not found:
        raise DataError(f"{folder}: expected images ending in {', '.join(ENDINGS)}, got none")
    return found


def _refuse_folder(error: OSError) -> None:
    raise DataError(
        f"{error.filename}: expected a readable folder, got: {error.strerror}"
    ) from error
