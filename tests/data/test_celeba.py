from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_decomp.data.celeba import celeba, celeba_attributes
from pyro_decomp.errors import DataError

LEVELS = [10, 60, 110, 160, 210]
SPLIT = [0, 0, 1, 2, 0]
NAMES = ["5_o_Clock_Shadow", "Bald", "Young"]
VALUES = [[1, -1, 1], [-1, -1, -1], [1, 1, 1], [-1, 1, -1], [-1, -1, 1]]


def name(index: int) -> str:
    return f"{index + 1:06d}.jpg"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five files in the layout of the originals: 178 x 218 pixels, names padded by spaces."""
    folder = tmp_path / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    for index, level in enumerate(LEVELS):
        pixels = np.full((218, 178, 3), 255, dtype=np.uint8)
        pixels[35:183, 15:163] = level  # the centred square of 148
        Image.fromarray(pixels).save(folder / "img_align_celeba" / name(index), quality=100)
    rows = [f"{name(k)} " + " ".join(f"{v:2d}" for v in row) for k, row in enumerate(VALUES)]
    (folder / "list_attr_celeba.txt").write_text(
        "\n".join(["5", " ".join(NAMES) + " ", *rows]) + "\n"
    )
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{name(k)} {part}\n" for k, part in enumerate(SPLIT))
    )
    return tmp_path


SPLITS = {"train": [0, 1, 4], "valid": [2], "test": [3], "all": [0, 1, 2, 3, 4]}


@pytest.mark.parametrize(("split", "chosen"), SPLITS.items(), ids=SPLITS)
def test_a_split_has_its_images_and_attributes(root: Path, split: str, chosen: list[int]) -> None:
    images = celeba(root, split=split, size=16, dtype=torch.uint8)
    assert images.shape == (len(chosen), 3, 16, 16)
    inside = images[:, :, 1:-1, 1:-1].flatten(1).int()
    assert (inside - torch.tensor(LEVELS)[chosen, None]).abs().max() <= 2  # JPEG
    attributes = celeba_attributes(root, split=split)
    assert attributes.names == tuple(NAMES)
    assert attributes.values.tolist() == [[int(v > 0) for v in VALUES[k]] for k in chosen]


def test_the_folder_itself_is_a_root_and_levels_are_fractions(root: Path) -> None:
    images = celeba(str(root / "celeba"), limit=2)
    assert images.shape == (2, 3, 64, 64)
    torch.testing.assert_close(
        images[:, :, 2:-2, 2:-2].mean((1, 2, 3)), torch.tensor(LEVELS[:2]) / 255, rtol=0, atol=0.005
    )
    assert len(celeba_attributes(root, limit=2).values) == 2


def test_a_wider_crop_has_the_surround(root: Path) -> None:
    images = celeba(root, crop=178, size=178, limit=1)
    assert images[0, :, 0, 0].min() > 0.97
    assert images[0, :, 89, 89].max() < 0.06


def spoil(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


BAD = {
    "no list": (
        lambda f: (f / "list_attr_celeba.txt").unlink(),
        r"expected list_attr_celeba\.txt, .* at https://.*/CelebA\.html$",
    ),
    "another split": (
        lambda f: spoil(f / "list_eval_partition.txt", "000002.jpg 0", "000002.jpg 7"),
        r"list_eval_partition\.txt: expected a file and 0, 1 or 2 in line 2, got '000002\.jpg 7'",
    ),
    "an image gone": (
        lambda f: (f / "img_align_celeba" / "000005.jpg").unlink(),
        r"000005\.jpg: expected an existing file, got no such file",
    ),
    "an attribute gone": (
        lambda f: spoil(f / "list_attr_celeba.txt", "000002.jpg -1 -1 -1", "000002.jpg -1 -1"),
        r"list_attr_celeba\.txt: expected 3 of -1 or 1 for 000002\.jpg, got -1 -1$",
    ),
    "a line gone": (
        lambda f: spoil(f / "list_attr_celeba.txt", "000002.jpg -1 -1 -1\n", ""),
        r"expected 3 of -1 or 1 for 000002\.jpg, got no line",
    ),
    "no names": (
        lambda f: (f / "list_attr_celeba.txt").write_text("5\n"),
        r"list_attr_celeba\.txt: expected the names of attributes in line 2, got none",
    ),
    "not text": (
        lambda f: (f / "list_attr_celeba.txt").write_bytes(b"\xff\xfe\xff"),
        r"list_attr_celeba\.txt: expected a readable list, got: ",
    ),
}


@pytest.mark.parametrize(("damage", "message"), BAD.values(), ids=BAD)
def test_what_is_damaged_is_named(
    root: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(root / "celeba")
    with pytest.raises(DataError, match=message) as caught:  # noqa: PT012 (either may find it)
        celeba(root, size=8)
        celeba_attributes(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "training"}, "^split: expected one of .*'all', got 'training'"),
        ({"limit": 0}, "^limit: expected a positive whole number, got 0"),
        ({"size": 0}, "^size: expected a positive whole number, got 0"),
    ],
)
def test_arguments_are_checked(root: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        celeba(root, **options)
