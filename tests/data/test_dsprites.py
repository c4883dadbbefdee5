import hashlib
import math
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from importlib import import_module
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from numpy.lib.format import write_array_header_1_0

from pyro_decomp.data.dsprites import BLOB, NAME, URL, dsprites, from_images, packed, read
from pyro_decomp.data.ground_truth import GroundTruth
from pyro_decomp.data.rendered.sprites import FACTORS, sprites
from pyro_decomp.errors import DataError


@pytest.mark.parametrize("side", [3, 4])  # nine pixels are not a whole number of bytes
def test_packed_images_are_the_images(side: int) -> None:
    table = torch.randint(2, (5000, 1, side, side)).float()
    data = GroundTruth(
        "noise", {"tens": 500, "ones": 10}, (1, side, side), lambda f: table[f[:, 0] * 10 + f[:, 1]]
    )
    copy = packed(data)
    assert (copy.name, copy.factor_names, copy.factor_sizes) == (
        "noise",
        ("tens", "ones"),
        (500, 10),
    )
    factors = data.sample_factors(300)
    torch.testing.assert_close(copy.images(factors), data.images(factors), rtol=0, atol=0)
    torch.testing.assert_close(copy.materialise()[0], table, rtol=0, atol=0)


def test_grey_is_refused() -> None:
    grey = GroundTruth("grey", {"level": 3}, (1, 1, 1), lambda f: f[..., None, None] / 2)
    with pytest.raises(DataError, match="grey: expected images of 0 and 1, got other values"):
        packed(grey)


@pytest.mark.parametrize("count", [2, 4])
def test_images_are_as_many_as_the_grid_has(count: int) -> None:
    chunks = [torch.zeros(1, 2, 2).numpy()] * count
    with pytest.raises(DataError, match=f"blank: expected 3 images, got {count}"):
        from_images("blank", {"value": 3}, (1, 2, 2), chunks)


module = import_module("pyro_decomp.data.dsprites")  # the package has a function of that name

SMALL = {"shape": 3, "scale": 2, "orientation": 2, "x": 5, "y": 2}
SIZE = math.prod(SMALL.values())
IMAGES = np.random.default_rng(0).integers(0, 2, (SIZE, 64, 64), dtype=np.uint8)
CLASSES = np.stack(np.unravel_index(np.arange(SIZE), (1, *SMALL.values())), axis=1)


class Bomb:
    """What no reader may unpickle."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("unpickled",)


def write(path: Path, **changes: object) -> Path:
    """The four arrays of the original file, with its names and types; None leaves one out."""
    metadata = np.empty((), object)
    metadata[()] = Bomb()
    arrays = {
        "metadata": metadata,
        "imgs": IMAGES,
        "latents_classes": CLASSES,
        "latents_values": CLASSES.astype(np.float64),
    } | changes
    np.savez_compressed(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def test_images_lie_under_their_factors(tmp_path: Path) -> None:
    data = read(write(tmp_path / NAME), SMALL)
    assert data.factor_names == tuple(FACTORS)
    assert data.image_shape == (1, 64, 64)
    images, factors = data.materialise()
    assert np.array_equal(images[:, 0].numpy(), IMAGES)
    assert np.array_equal(factors.numpy(), CLASSES[:, 1:])


def test_the_metadata_would_run_code(tmp_path: Path) -> None:
    """So the tests around this one show that it is not unpickled."""
    with (
        np.load(write(tmp_path / NAME), allow_pickle=True) as archive,
        pytest.raises(pytest.fail.Exception),
    ):
        archive["metadata"]


@pytest.mark.parametrize("given", ["file", "folder", "default"])
def test_where_the_file_is_sought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr(module, "FACTORS", SMALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    name = "mine.npz" if given == "file" else NAME
    file = write(tmp_path / "data" / name)
    path = {"file": file, "folder": str(tmp_path / "data"), "default": None}[given]
    assert len(dsprites(path)) == SIZE


def test_without_the_file_the_address_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        dsprites(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / NAME}: expected the file of dSprites, got none")
    assert URL in message
    assert "download=True" in message


SWAPPED = np.concatenate([CLASSES[[1, 0]], CLASSES[2:]])


@pytest.mark.full(but=["changes1-*", "changes3-*"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latents_classes": SWAPPED}, r"in order, .* got \[0, 0, 0, 0, 0, 1\] in row 0"),
        ({"latents_classes": CLASSES[:, 1:]}, r"latents_classes of shape \(120, 6\)"),
        ({"latents_classes": CLASSES.astype(np.int32)}, "type int64, .* type int32"),
        ({"latents_classes": None}, "latents_classes.npy"),
        ({"imgs": IMAGES[:-1]}, r"imgs of shape \(120, 64, 64\) .* got shape \(119, 64, 64\)"),
        ({"imgs": IMAGES.astype(bool)}, "imgs of .* type uint8, .* type bool"),
        ({"imgs": np.asfortranarray(IMAGES)}, "row by row, .* column by column"),
        ({"imgs": IMAGES * 255}, "expected images of 0 and 1, got other values"),
        ({"imgs": None}, "imgs.npy"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path / NAME, **changes), SMALL)


@pytest.mark.full(but=["0"])
@pytest.mark.parametrize("length", [0, 1000, -1])
def test_half_a_file_is_refused(tmp_path: Path, length: int) -> None:
    file = write(tmp_path / NAME)
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(DataError, match=f"{NAME}: expected a readable file of dSprites, got: "):
        read(file, SMALL)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small file at the address, served on this machine."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    content = write(folder / NAME).read_bytes()
    with HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(module, "URL", f"http://127.0.0.1:{server.server_port}/{NAME}")
        monkeypatch.setattr(module, "FACTORS", SMALL)
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        monkeypatch.setattr(module, "BLOB", blob)
        yield folder / NAME
        server.shutdown()
        thread.join()


def test_what_is_downloaded_stays(mirror: Path, tmp_path: Path) -> None:
    root = tmp_path / "new" / "root"
    assert len(dsprites(root, download=True)) == SIZE
    assert [path.name for path in root.iterdir()] == [NAME]
    mirror.unlink()  # and is not fetched again
    assert len(dsprites(root, download=True)) == SIZE


def test_another_checksum_leaves_nothing(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BLOB", BLOB)
    with pytest.raises(DataError, match=f"expected a file of git blob {BLOB} from http"):
        dsprites(tmp_path / "root", download=True)
    assert not list((tmp_path / "root").iterdir())


def test_a_failed_download_is_one_sentence(mirror: Path, tmp_path: Path) -> None:
    mirror.unlink()
    with pytest.raises(DataError, match=r"expected to download dSprites from http.* got: .*404"):
        dsprites(tmp_path / "root", download=True)
    assert not list((tmp_path / "root").iterdir())


def test_offline_the_address_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "URL", f"http://127.0.0.1:1/{NAME}")
    with pytest.raises(DataError, match=f"download dSprites from http://127.0.0.1:1/{NAME}, got"):
        dsprites(tmp_path, download=True)


@pytest.mark.slow
def test_a_file_of_full_size(tmp_path: Path) -> None:
    """Our sprites, in the layout of the original: three gigabytes of zeros and ones."""
    file, data = tmp_path / NAME, sprites()
    classes = np.stack(np.unravel_index(np.arange(len(data)), (1, *FACTORS.values())), axis=1)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("latents_classes.npy", "w") as stream:
            np.save(stream, classes)
        with archive.open("imgs.npy", "w", force_zip64=True) as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": (len(data), 64, 64)}
            write_array_header_1_0(stream, header)
            for index in torch.arange(len(data)).split(8192):
                stream.write(data.images(data.factors(index)).byte().numpy().tobytes())
    loaded = dsprites(file)
    factors = data.sample_factors(20_000)
    assert torch.equal(loaded.images(factors), data.images(factors))
