from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

from pyro_decomp.data.mnist import mnist, mnist_labels
from pyro_decomp.errors import DataError

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
