"""3-D chairs: 1,393 models seen from 62 sides each."""

import re
from os import PathLike
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.data.images import read_images
from pyro_decomp.errors import DataError

_NAME = re.compile(r"image_\d+_p(\d+)_t(\d+)_r\d+\.png")


def chairs(
    path: str | PathLike[str] = "data/rendered_chairs",
    *,
    size: int = 64,
    grey: bool = False,
    crop: int | None = None,
) -> GroundTruth:
    """86,366 images of chairs: 1,393 identities, azimuth 31, elevation 2.

    The angles are in the names of the files: ``image_020_p020_t232_r096.png`` is seen from an
    elevation phi of 20 degrees, an azimuth theta of 232 and a distance of 96. Identities are the
    folders in the order of their names, angles in the order of their degrees. Files are read and
    resized when asked for; :meth:`~GroundTruth.materialise` puts them all into one tensor.

    Args:
        path: The folder of the archive ``rendered_chairs.tar``, with
            ``<identity>/renders/image_###_p###_t###_r###.png`` in it.
        size: Height and width of the images, to which the 600 x 600 pixels are resized.
        grey: One channel instead of three.
        crop: Cut out a centred square of so many pixels first: the files have a wide white margin.

    Returns:
        The grid; it keeps the paths of the files and no image.

    Raises:
        DataError: There are no such files, or a chair lacks a side that another has. Asking for an
            image raises it if the file cannot be read.

    Reference:
        Aubry et al., Seeing 3D chairs: exemplar part-based 2D-3D alignment using a large dataset of
        CAD models, 2014, https://www.di.ens.fr/willow/research/seeing3Dchairs.
    """
    with arguments.raised_as(DataError):
        arguments.annotated(chairs, locals(), size=1, crop=1)
    folder = Path(path)
    files = _files(folder)
    identities = sorted({key[0] for key in files})
    azimuths = sorted({key[1] for key in files})
    elevations = sorted({key[2] for key in files})
    grid = [(i, a, e) for i in identities for a in azimuths for e in elevations]
    for identity, azimuth, elevation in grid:
        if (identity, azimuth, elevation) not in files:
            raise DataError(
                f"{folder / identity / 'renders'}: expected an image of every side, got none with "
                f"p{elevation:03d} and t{azimuth:03d}"
            )
    paths = [files[key] for key in grid]
    sizes = torch.tensor([len(azimuths) * len(elevations), len(elevations), 1])

    def render(factors: Int[Tensor, "n 3"]) -> Float[Tensor, "n channels size size"]:
        chosen = [paths[index] for index in (factors * sizes).sum(1).tolist()]
        if not chosen:
            return torch.empty(0, *shape)
        return read_images(chosen, size=size, grey=grey, crop=crop)

    shape = (1 if grey else 3, size, size)
    values = {
        "identity": len(identities),
        "azimuth": len(azimuths),
        "elevation": len(elevations),
    }
    return GroundTruth("chairs", values, shape, render)


def _files(folder: Path) -> dict[tuple[str, int, int], Path]:
    """The file of each identity, azimuth and elevation."""
    files = {}
    for path in folder.glob("*/renders/*.png"):
        if match := _NAME.fullmatch(path.name):
            elevation, azimuth = map(int, match.groups())
            files[path.parts[-3], azimuth, elevation] = path
    if not files:
        raise DataError(
            f"{folder}: expected chairs in <identity>/renders/image_###_p###_t###_r###.png, got "
            "none: unpack https://www.di.ens.fr/willow/research/seeing3Dchairs/data/"
            "rendered_chairs.tar there"
        )
    return files
