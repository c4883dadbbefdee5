"""CelebA: 202,599 photographs of faces with 40 attributes each."""

import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pyro_decomp import arguments
from pyro_decomp.data.images import read_images
from pyro_decomp.data.readable import refuse_unreadable, text_lines
from pyro_decomp.descriptions import constructor_call
from pyro_decomp.errors import DataError

SPLITS = {"train": 0, "valid": 1, "test": 2}
_CROP = 148
_FILES = ("list_attr_celeba.txt", "list_eval_partition.txt", "img_align_celeba")


@dataclass(frozen=True, repr=False)
class Attributes:
    """The attributes of CelebA's faces, as :func:`celeba_attributes` gives them.

    Attributes:
        names: Of the attributes, as in the file: ``5_o_Clock_Shadow`` to ``Young``.
        values: 1 where a face has the attribute, else 0.
    """

    names: tuple[str, ...]
    values: Int[Tensor, "images attributes"]

    __repr__ = constructor_call


def celeba(
    root: str | PathLike[str] = "data",
    *,
    split: str = "train",
    size: int = 64,
    crop: int = _CROP,
    limit: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "images 3 size size"] | UInt8[Tensor, "images 3 size size"]:
    """The aligned and cropped faces as one tensor, in the order of their files.

    The centred square of ``crop`` of the 178 x 218 pixels is resized. No crop is standard: 148 is
    that of most public VAEs, and of others 128, 140 or 160, so results compare only where it is the
    same. The files must be there: their hosts let no program fetch them reliably.

    Args:
        root: torchvision's root, where the files are in ``celeba``, or that folder: it has
            ``img_align_celeba``, ``list_attr_celeba.txt`` and ``list_eval_partition.txt``.
        split: ``train`` (162,770 images), ``valid`` (19,867), ``test`` (19,962) or ``all``.
        size: Height and width of the result.
        crop: Side of the square, in pixels of the files.
        limit: Take only the first so many images; all by default.
        dtype: ``torch.float32`` for levels in [0, 1], 7.4 GiB for the training images at size 64;
            ``torch.uint8`` for levels of 0 to 255, a quarter of it.

    Returns:
        The images, in [0, 1] or as levels of 0 to 255; see ``dtype``.

    Raises:
        DataError: A file is missing or damaged, or an argument is out of range.

    Reference:
        Liu et al., Deep learning face attributes in the wild, 2015,
        https://arxiv.org/abs/1411.7766.
    """
    with arguments.raised_as(DataError):
        arguments.annotated(celeba, locals(), size=1, crop=1, limit=1)
        arguments.one_of((*SPLITS, "all"), split=split)
    folder = _folder(root)
    paths = [folder / "img_align_celeba" / name for name in _names(folder, split, limit)]
    return read_images(paths, size=size, grey=False, crop=crop, dtype=dtype)


def celeba_attributes(
    root: str | PathLike[str] = "data", *, split: str = "train", limit: int | None = None
) -> Attributes:
    """The 40 attributes of each image of :func:`celeba`, as factors.

    Args:
        root: As for the images.
        split: As for the images.
        limit: As for the images.

    Returns:
        The attributes' names, and a row of 0 and 1 for each image.

    Raises:
        DataError: As for the images.
    """
    with arguments.raised_as(DataError):
        arguments.annotated(celeba_attributes, locals(), limit=1)
        arguments.one_of((*SPLITS, "all"), split=split)
    folder = _folder(root)
    path = folder / "list_attr_celeba.txt"
    lines = _lines(path)
    if len(lines) < 2 or not lines[1]:
        raise DataError(f"{path}: expected the names of attributes in line 2, got none")
    header = lines[1]
    by_file = {row[0]: row[1:] for row in lines[2:] if row}
    chosen = []
    for name in _names(folder, split, limit):
        values = by_file.get(name, [])
        if len(values) != len(header) or not set(values) <= {"-1", "1"}:
            got = " ".join(values) or "no line"
            raise DataError(f"{path}: expected {len(header)} of -1 or 1 for {name}, got {got}")
        chosen.append([value == "1" for value in values])
    return Attributes(tuple(header), torch.tensor(chosen, dtype=torch.int64))


def _folder(root: str | PathLike[str]) -> Path:
    for folder in (Path(root) / "celeba", Path(root)):
        if all(os.path.lexists(folder / name) for name in _FILES):
            return folder
    raise DataError(
        f"{Path(root)}: expected {', '.join(_FILES)} of CelebA there or in its folder celeba, got "
        "no folder with them: they are at https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
    )


def _names(folder: Path, split: str, limit: int | None) -> list[str]:
    path = folder / "list_eval_partition.txt"
    names = []
    for number, row in enumerate(_lines(path), start=1):
        if len(row) != 2 or row[1] not in {"0", "1", "2"}:
            got = " ".join(row)
            raise DataError(f"{path}: expected a file and 0, 1 or 2 in line {number}, got {got!r}")
        if split == "all" or row[1] == str(SPLITS[split]):
            names.append(row[0])
    if not names:
        raise DataError(f"{path}: expected images of the split {split}, got none")
    return names[:limit]


def _lines(path: Path) -> list[list[str]]:
    with refuse_unreadable(path, "list"):
        return [line.split() for line in text_lines(path)]
