from pathlib import Path

import pytest
import torch
from PIL import Image

from pyro_decomp.data.chairs import chairs
from pyro_decomp.errors import DataError

IDENTITIES = ["1a2b", "9f00", "0c3d"]
THETAS = [0, 11, 232]
PHIS = [20, 30]


def level(identity: str, theta: int, phi: int) -> int:
    order = sorted(IDENTITIES).index(identity), THETAS.index(theta), PHIS.index(phi)
    return 10 + 40 * order[0] + 12 * order[1] + 5 * order[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three chairs in the archive's layout, numbered as there: 32 numbers for each elevation."""
    for identity in IDENTITIES:
        renders = tmp_path / identity / "renders"
        renders.mkdir(parents=True)
        for p, phi in enumerate(PHIS):
            for t, theta in enumerate(THETAS):
                file = renders / f"image_{32 * p + t:03d}_p{phi:03d}_t{theta:03d}_r096.png"
                image = Image.new("RGB", (20, 20), (255, 255, 255))
                image.paste((level(identity, theta, phi), 0, 0), (5, 5, 15, 15))
                image.save(file)
    (tmp_path / "all_chair_names.mat").write_bytes(b"beside the chairs")
    (tmp_path / "1a2b" / "renders" / "thumbnail.png").write_bytes(b"another name")
    return tmp_path


def test_factors_come_from_names_in_the_order_of_names_and_degrees(folder: Path) -> None:
    data = chairs(folder, size=10, crop=10)
    assert data.factor_names == ("identity", "azimuth", "elevation")
    assert data.factor_sizes == (3, 3, 2)
    images, factors = data.materialise()
    assert images.shape == (18, 3, 10, 10)
    expected = 10 + factors @ torch.tensor([40, 12, 5])
    torch.testing.assert_close(images[:, 0].mean((1, 2)), expected / 255.0)
    assert images[:, 1:].abs().max() == 0.0


def test_images_are_read_for_the_factors_asked_for(folder: Path) -> None:
    data = chairs(str(folder), size=20)
    image = data.images([[2, 1, 0]])[0]
    assert image[0, 10, 10].item() == pytest.approx(level("9f00", 11, 20) / 255.0)
    assert image[:, 0, 0].tolist() == [1.0, 1.0, 1.0]
    assert data.images(torch.empty(0, 3, dtype=torch.int64)).shape == (0, 3, 20, 20)


def test_grey_has_one_channel(folder: Path) -> None:
    data = chairs(folder, size=5, grey=True)
    assert data.image_shape == (1, 5, 5)
    assert data.images([[0, 0, 0]]).shape == (1, 1, 5, 5)


def test_a_side_that_is_missing_is_named(folder: Path) -> None:
    (folder / "9f00" / "renders" / "image_033_p030_t011_r096.png").unlink()
    with pytest.raises(DataError, match=r"renders: .* got none with p030 and t011$") as caught:
        chairs(folder)
    assert str(caught.value).startswith(str(folder / "9f00"))


def test_a_folder_without_chairs_says_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got none: unpack https://.*rendered_chairs\.tar there"):
        chairs(tmp_path / "nowhere")


def test_a_damaged_file_is_named_when_it_is_read(folder: Path) -> None:
    path = folder / "1a2b" / "renders" / "image_000_p020_t000_r096.png"
    path.write_bytes(path.read_bytes()[:40])
    data = chairs(folder, size=8)
    with pytest.raises(DataError, match=r"image_000_p020_t000_r096\.png: expected a readable"):
        data.images([[1, 0, 0]])
