import gzip
import hashlib
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST, FashionMNIST

from pyro_decomp.data import fashion_mnist, fashion_mnist_labels
from pyro_decomp.data.mnist import DEBIAN_FOLDER, mnist, mnist_labels, read_idx
from pyro_decomp.errors import DataError

VALUES = bytes(range(12))
HEADER = bytes([0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 4])


def test_raw_and_gzipped_files_hold_the_same_values(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(HEADER + VALUES)
    (tmp_path / "a.gz").write_bytes(gzip.compress(HEADER + VALUES))
    for name in ("a", "a.gz"):
        np.testing.assert_array_equal(read_idx(tmp_path / name, 2), np.arange(12).reshape(3, 4))


BAD = {
    "empty": ("a", b"", "starts with 00 00 08 02, got an empty file"),
    "no magic number": ("a", b"\x89PNG" + VALUES, "got 89 50 4e 47"),
    "other dimensions": ("a", bytes([0, 0, 8, 1, 0, 0, 0, 12]) + VALUES, "got 00 00 08 01"),
    "floats": ("a", bytes([0, 0, 13, 2]) + HEADER[4:] + VALUES, "got 00 00 0d 02"),
    "cut header": ("a", HEADER[:9], "expected a header of 12 bytes, got 9"),
    "cut values": ("a", HEADER + VALUES[:5], r"expected 12 values for shape \(3, 4\), got 5"),
    "more values": (
        "a",
        HEADER + VALUES + b"!",
        r"expected 12 values for shape \(3, 4\), got more",
    ),
    "not gzipped": ("a.gz", HEADER + VALUES, "expected a readable IDX file, got: Not a gzipped"),
    "cut gzip": (
        "a.gz",
        gzip.compress(HEADER + VALUES)[:-9],
        "expected a readable IDX file, got: ",
    ),
    "missing": ("b/a", None, "expected an existing file, got no such file"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_named_with_what_is_wrong(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, 2)
    assert str(caught.value).startswith(f"{path}: ")


IMAGES = np.random.default_rng(3).integers(0, 256, (4, 28, 28), dtype=np.uint8)
LABELS = np.array([7, 2, 1, 0], dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four digits in torchvision's layout, the test set in reverse."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, step in (("train", 1), ("t10k", -1)):
        for kind, values in (("images-idx3", IMAGES[::step]), ("labels-idx1", LABELS[::step])):
            header = bytes([0, 0, 8, values.ndim])
            header += b"".join(size.to_bytes(4, "big") for size in values.shape)
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + values.tobytes())
    return tmp_path


@pytest.mark.parametrize("train", [True, False])
def test_images_and_labels_are_those_of_torchvision(root: Path, train: bool) -> None:
    reference = MNIST(str(root), train=train)
    images = mnist(root, train=train, size=28)
    torch.testing.assert_close(images[:, 0], reference.data / 255.0, rtol=0, atol=1e-7)
    assert torch.equal(mnist_labels(root, train=train), reference.targets)


def test_images_are_resized_once_and_limited(root: Path) -> None:
    images = mnist(root, limit=3)
    assert images.shape == (3, 1, 32, 32)
    assert images.dtype == torch.float32
    assert len(mnist_labels(root, limit=3)) == 3


def test_absent_files_name_the_download_alone(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        mnist(tmp_path)
    message = str(caught.value)
    assert message.startswith("expected train-images-idx3-ubyte or train-images-idx3-ubyte.gz of ")
    assert "of MNIST, got neither in" in message
    assert message.endswith("download=True (`--set download=true`)")


def test_a_failed_download_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(MNIST, "mirrors", ["http://127.0.0.1:1/"])
    with pytest.raises(DataError, match=r"expected to download MNIST there, got: .*refused"):
        mnist(tmp_path / "root", download=True)


CLOTHES = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
KINDS = np.array([9, 2, 1, 1, 6, 1], dtype=np.uint8)


def idx(values: np.ndarray) -> bytes:
    dimensions = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + dimensions + values.tobytes()


def write(
    folder: Path,
    part: str = "train",
    *,
    images: np.ndarray = CLOTHES,
    labels: np.ndarray = KINDS,
    zipped: bool = False,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
        name, content = f"{part}-{kind}-ubyte", idx(values)
        if zipped:
            name, content = f"{name}.gz", gzip.compress(content)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("zipped", [False, True], ids=["raw", "gz"])
@pytest.mark.parametrize("folder", [".", "FashionMNIST/raw"], ids=["files", "torchvision"])
def test_both_layouts_are_read(tmp_path: Path, folder: str, zipped: bool) -> None:
    write(tmp_path / folder, zipped=zipped)
    write(
        tmp_path / folder,
        "t10k",
        images=CLOTHES[::-1],
        labels=KINDS[::-1],
        zipped=zipped,
    )
    pixels = torch.from_numpy(CLOTHES / np.float32(255)).unsqueeze(1)
    labels = torch.from_numpy(KINDS).long()
    for train, order in ((True, [0, 1, 2, 3, 4, 5]), (False, [5, 4, 3, 2, 1, 0])):
        images = fashion_mnist(tmp_path, train=train, size=28)
        torch.testing.assert_close(images, pixels[order], rtol=0, atol=0)
        assert torch.equal(fashion_mnist_labels(str(tmp_path), train=train), labels[order])


def test_without_a_root_the_folder_data_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data")
    assert len(fashion_mnist()) == len(CLOTHES)


def test_limit_takes_the_first(tmp_path: Path) -> None:
    write(tmp_path)
    torch.testing.assert_close(fashion_mnist(tmp_path, limit=2), fashion_mnist(tmp_path)[:2])
    assert fashion_mnist_labels(tmp_path, limit=2).tolist() == [9, 2]


def test_resizing_is_bilinear_for_more_images_than_a_chunk(tmp_path: Path) -> None:
    """Halving a plane averages it with triangular weights, which leave the inside linear."""
    rows, columns = np.mgrid[:28, :28]
    offsets = np.arange(5000) % 60
    planes = rows * 4 + columns * 3 + offsets[:, None, None]
    write(tmp_path, images=planes.astype(np.uint8))
    half = fashion_mnist(tmp_path, size=14)
    assert half.shape == (5000, 1, 14, 14)
    centres = 2.0 * torch.arange(14) + 0.5
    expected = centres[:, None] * 4 + centres * 3 + torch.from_numpy(offsets)[:, None, None]
    inside = (slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(half[:, 0][inside], (expected / 255)[inside])


def test_resizing_stays_between_black_and_white(tmp_path: Path) -> None:
    write(tmp_path, images=np.full_like(CLOTHES, 255))
    for size in (13, 32, 64):
        images = fashion_mnist(tmp_path, size=size)
        assert images.max() <= 1.0
        torch.testing.assert_close(images, torch.ones(6, 1, size, size))


def test_absent_files_say_where_they_were_sought_and_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        fashion_mnist(tmp_path, train=False)
    message = str(caught.value)
    for part in (
        "t10k-images-idx3-ubyte",
        str(tmp_path),
        "--set download=true",
        "Debian's package",
    ):
        assert part in message
    assert "\n" not in message


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        DataError, match=r"train-images-idx3-ubyte: expected 4704 values .* got 4703"
    ):
        fashion_mnist(tmp_path)


@pytest.mark.parametrize("option", ["size", "limit"])
def test_sizes_must_be_positive(tmp_path: Path, option: str) -> None:
    write(tmp_path)
    with pytest.raises(DataError, match=f"^{option}: expected a positive whole number, got 0"):
        fashion_mnist(tmp_path, **{option: 0})


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that torchvision takes for the mirror of Fashion-MNIST, served on this machine."""
    folder = tmp_path / "mirror"
    for part in ("train", "t10k"):
        write(folder, part, zipped=True)
    sums = [(path.name, hashlib.md5(path.read_bytes()).hexdigest()) for path in folder.iterdir()]
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(FashionMNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(FashionMNIST, "resources", sums)
        yield folder
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


def test_files_are_downloaded_where_allowed(mirror: Path, tmp_path: Path) -> None:
    images = fashion_mnist(tmp_path / "root", download=True)
    assert torch.equal(images, fashion_mnist(mirror))
    shutil.rmtree(mirror)  # what is there is not fetched again
    assert torch.equal(fashion_mnist(tmp_path / "root", download=True), images)


def test_a_failed_download_of_clothes_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:1/"])
    with pytest.raises(DataError, match="expected to download Fashion-MNIST there") as caught:
        fashion_mnist(tmp_path / "root", download=True)
    assert str(caught.value).startswith(f"{tmp_path / 'root'}: ")
    assert "refused" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.full
@pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_the_real_files() -> None:
    labels = fashion_mnist_labels(DEBIAN_FOLDER)
    assert labels[0] == 9
    assert labels.bincount().tolist() == [6000] * 10
    assert fashion_mnist_labels(DEBIAN_FOLDER, train=False).bincount().tolist() == [1000] * 10
    images = fashion_mnist(DEBIAN_FOLDER, size=28)
    assert images.shape == (60000, 1, 28, 28)
    assert images.mean().item() == pytest.approx(0.2860, abs=1e-4)
    assert images.std().item() == pytest.approx(0.3530, abs=1e-4)
    assert fashion_mnist(DEBIAN_FOLDER, train=False).shape == (10000, 1, 32, 32)
