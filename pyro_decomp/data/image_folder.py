"""A user's own folder of images as one tensor."""

from os import PathLike
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.image_files import ENDINGS, read_images
from pyro_decomp.errors import DataError


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

    Raises:
        DataError: There is no image; a file cannot be read, has more than 8 bits a channel or is
            smaller than ``crop``; sizes differ and ``size`` was not given; or an argument is out of
            range. The message names the file.
    """
    with arguments.raised_as(DataError):
        arguments.annotated(image_folder, locals())
    return read_images(image_paths(path), size=size, grey=grey, crop=crop, dtype=dtype)


def image_paths(path: str | PathLike[str]) -> list[Path]:
    """The files behind the images of :func:`image_folder`, in the same order.

    Those whose name ends in one of ``.bmp .jpeg .jpg .pgm .png .ppm .tif .tiff .webp``, in small or
    capital letters, and does not begin with a dot.

    Args:
        path: The folder.

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
