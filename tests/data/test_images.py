from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_decomp.data.images import image_folder, image_paths
from pyro_decomp.errors import DataError

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def save(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (8, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_images_come_in_the_order_of_their_paths_from_all_folders(tmp_path: Path) -> None:
    save(tmp_path / "b.png", WHITE)
    save(tmp_path / "a" / "deep" / "2.BMP", GREEN)
    save(tmp_path / "a" / "1.png", RED)
    save(tmp_path / "a" / ".hidden.png", GREEN)
    (tmp_path / "notes.txt").write_text("not an image")
    images = image_folder(str(tmp_path))
    assert images.shape == (3, 3, 6, 8)
    colours = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    torch.testing.assert_close(
        images, torch.tensor(colours)[:, :, None, None].expand(3, 3, 6, 8), rtol=0, atol=0
    )
    names = [path.relative_to(tmp_path).as_posix() for path in image_paths(tmp_path)]
    assert names == ["a/1.png", "a/deep/2.BMP", "b.png"]


def test_pixels_are_those_of_the_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    expected = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    assert torch.equal(image_folder(tmp_path, dtype=torch.uint8), expected)
    torch.testing.assert_close(image_folder(tmp_path), expected / 255.0)


def test_grey_is_the_luminance_of_rec_601(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    luminance = torch.from_numpy(pixels).double() @ torch.tensor([0.299, 0.587, 0.114]).double()
    grey = image_folder(tmp_path, grey=True, dtype=torch.uint8)
    assert grey.shape == (1, 1, 5, 7)
    assert (grey[0, 0] - luminance).abs().max() <= 0.51


def test_a_grey_file_gets_three_equal_channels(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 51).save(tmp_path / "x.png")
    torch.testing.assert_close(image_folder(tmp_path), torch.full((1, 3, 4, 4), 0.2))


def test_the_centred_square_is_cut_out_and_resized(tmp_path: Path) -> None:
    """A ramp of 2 a pixel across 60 columns; of its middle 40, blocks of 4 average to 8 a pixel."""
    ramp = np.tile(np.arange(60, dtype=np.uint8) * 2, (40, 1))
    Image.fromarray(ramp).save(tmp_path / "x.png")
    small = image_folder(tmp_path, size=10, grey=True, dtype=torch.uint8)[0, 0].double()
    expected = 2.0 * (10 + 1.5) + 8.0 * torch.arange(10, dtype=torch.float64)
    assert (small[:, 1:-1] - expected[1:-1]).abs().max() <= 0.5
    cut = image_folder(tmp_path, crop=20, grey=True, dtype=torch.uint8)[0, 0]
    assert torch.equal(cut, torch.from_numpy(ramp[10:30, 20:40]))


def test_differing_sizes_become_one_with_a_size(tmp_path: Path) -> None:
    save(tmp_path / "a.png", size=(8, 6))
    save(tmp_path / "b.png", size=(20, 30))
    assert image_folder(tmp_path, size=4).shape == (2, 3, 4, 4)
    with pytest.raises(DataError) as caught:
        image_folder(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'b.png'}: expected 8 x 6 pixels as in {tmp_path / 'a.png'}, or a size for "
        "all, got 20 x 30 pixels"
    )


def test_more_images_than_a_chunk_keep_their_order(tmp_path: Path) -> None:
    for level in range(300):
        Image.new("L", (1, 1), level % 256).save(tmp_path / f"{level:03d}.pgm")
    levels = image_folder(tmp_path, grey=True, dtype=torch.uint8).flatten().tolist()
    assert levels == [level % 256 for level in range(300)]


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none: expected a folder of images, got no such folder"):
        image_folder(tmp_path / "none")
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(DataError, match=r"expected images ending in \.bmp, .*, got none$"):
        image_folder(tmp_path)


def cut_off(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:2000])


BAD = {
    "words": lambda path: path.write_text("not an image"),
    "empty": lambda path: path.write_bytes(b""),
    "cut off": cut_off,
}


@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
@pytest.mark.parametrize("name", ["0.png", "2.png"], ids=["first", "later"])
def test_an_unreadable_file_is_named(
    tmp_path: Path, name: str, spoil: Callable[[Path], object]
) -> None:
    save(tmp_path / "1.png")
    spoil(tmp_path / name)
    with pytest.raises(DataError, match="expected a readable image, got: ") as caught:
        image_folder(tmp_path, size=4)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_more_than_8_bits_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=r"x\.tif: expected 8 bits a channel, got mode I;16"):
        image_folder(tmp_path)


def test_a_crop_larger_than_an_image_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "x.png", size=(8, 6))
    with pytest.raises(DataError, match=r"x\.png: expected at least 7 x 7 pixels, got 8 x 6"):
        image_folder(tmp_path, crop=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "^size: expected a positive whole number, got 0"),
        ({"crop": -2}, "^crop: expected a positive whole number, got -2"),
        ({"dtype": torch.float64}, r"^dtype: expected torch\.float32 or torch\.uint8, got .*64"),
    ],
)
def test_arguments_are_checked(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    save(tmp_path / "x.png")
    with pytest.raises(DataError, match=message):
        image_folder(tmp_path, **options)
