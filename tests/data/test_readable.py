"""Files made to fill the memory or to keep a reader waiting, and damaged ones."""

import io
import os
import resource
import signal
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.lib import recfunctions
from PIL import Image
from pyarrow import parquet

from pyro_decomp.data import as_tensor, image_folder, memory_mapped
from pyro_decomp.data.celeba import celeba
from pyro_decomp.data.dsprites import dsprites
from pyro_decomp.data.mnist import read_idx
from pyro_decomp.errors import DataError

SPARE = 50 * 2**20  # bytes, that a refusal may take
SECONDS = 20  # the machine may be busy; a reader that is caught takes for ever
GIB = 2**30
NOBODY = 65534  # a user who may read only what all may

Write = Callable[[Path], object]


def header(shape: tuple[int, ...], dtype: str = "<f8") -> bytes:
    file = io.BytesIO()
    described = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


LONG_HEADER = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31)
ARRAY = npy(np.eye(2))


def content(data: bytes, *, then_zeros: int = 0) -> Write:
    """Write bytes, and zeros that take no room on the disk."""

    def write(path: Path) -> None:
        path.write_bytes(data)
        os.truncate(path, len(data) + then_zeros)

    return write


def zeros(size: int, start: bytes) -> bytes:
    """Compress bytes and then so many MiB of zeros, by repeating what one of them becomes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * size + packer.flush()


def npz(*members: tuple[str, bytes], flags: int = 0) -> Write:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in members:
                archive.writestr(zipfile.ZipInfo(name), data)
        if flags:
            data = bytearray(path.read_bytes())
            data[6] |= flags
            data[data.index(b"PK\x01\x02") + 8] |= flags
            path.write_bytes(data)

    return write


def npz_of(start: bytes, size: int) -> Write:
    """A .npz file whose array goes on with so many MiB of zeros."""

    def write(path: Path) -> None:
        packed, name = zeros(size, start), b"a.npy"
        held = len(start) + size * 2**20
        fields = struct.pack("<HHHHIII", 0, 8, 0, 33, 0, len(packed), held)
        local = b"PK\x03\x04" + struct.pack("<H", 20) + fields
        local += struct.pack("<HH", len(name), 0) + name
        entry = b"PK\x01\x02" + struct.pack("<HH", 20, 20) + fields
        entry += struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, 0) + name
        end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(local) + len(packed), 0)
        path.write_bytes(local + packed + entry + b"PK\x05\x06" + end)

    return write


def png(width: int, height: int, *, kind: int = 0, depth: int = 8, data: bytes = b"") -> bytes:
    def chunk(name: bytes, inner: bytes) -> bytes:
        whole = name + inner
        return struct.pack(">I", len(inner)) + whole + struct.pack(">I", zlib.crc32(whole))

    described = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = chunk(b"IHDR", described) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def folder(**files: bytes | Write) -> Write:
    def write(path: Path) -> None:
        path.mkdir()
        for name, file in files.items():
            place = path / name.replace("__", ".")
            content(file)(place) if isinstance(file, bytes) else file(place)

    return write


def two_frames(path: Path) -> None:
    first, second = (Image.new("L", (4, 4), level) for level in (10, 200))
    first.save(path, save_all=True, append_images=[second])


def table(columns: Any) -> Write:
    return lambda path: parquet.write_table(pa.table(columns), path)


def cut(write: Write, keep: int) -> Write:
    return lambda path: (write(path), os.truncate(path, keep))


def gz(size: int, start: bytes) -> Write:
    def write(path: Path) -> None:
        path.write_bytes(b"\x1f\x8b\x08" + bytes(7) + zeros(size, start) + bytes(8))

    return write


def idx(*shape: int) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


def lists(path: Path) -> None:
    path.mkdir()
    (path / "img_align_celeba").mkdir()
    for name in ("list_attr_celeba.txt", "list_eval_partition.txt"):
        os.mkfifo(path / name)


PIPE = "expected an existing file, got a pipe, socket or device: copy it to a file"
LETTERS = "abcdefghij"
CASES: dict[str, tuple[str, Write, str]] = {
    "npy of more than there is": (
        "x.npy",
        content(header((5 * GIB,)), then_zeros=40 * GIB),
        r"an array of shape \(5368709120,\) and type float64 takes 60.0 GiB of memory to read, and "
        ".* are free: memory_mapped.path. reads a .npy file a batch at a time$",
    ),
    "npy that claims too much": (
        "x.npy",
        content(header((2**32, 2**32)) + b"abc"),
        r"3 bytes for an array of shape \(4294967296, 4294967296\) .*: write the file again$",
    ),
    "npy of a negative shape": ("x.npy", content(header((-1, 2))), r"of shape \(-1, 2\)"),
    "npy of two arrays": (
        "x.npy",
        content(ARRAY + ARRAY),
        "192 bytes for .* takes 32: write the file again, with one array in a .npy file",
    ),
    "npy of fields": ("x.npy", content(npy(np.zeros(3, [("a", "f8"), ("b", "f8")]))), "a, b: save"),
    "npy with a header of 2 GiB": ("x.npy", content(LONG_HEADER, then_zeros=2 * GIB), "header"),
    "npy with a deep header": (
        "x.npy",
        content(b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"-" * 9000),
        "expected a readable .npy file, got: a header that describes no array",
    ),
    "npz that claims too much": ("x.npz", npz(("a.npy", header((2**33,)))), "got: 0 bytes for an"),
    "npz of more than there is": (
        "x.npz",
        npz_of(header((3 * 2**26,)), 1536),
        "the array 'a' takes 1.5 GiB of memory, from 1.. MiB in the file, as .* save it as a .npy",
    ),
    "npz of no array": ("x.npz", npz_of(b"", 800), "the magic string is not correct"),
    "npz with a header of 2 GiB": ("x.npz", npz_of(LONG_HEADER, 800), "EOF: reading array header"),
    "npz of two of a name": ("x.npz", npz(("a", ARRAY), ("a.npy", ARRAY)), "two of the name 'a'"),
    "npz in a npz": ("x.npz", npz(("a.npz", b"PK\x03\x04" + bytes(99))), "magic string"),
    "npz under a password": ("x.npz", npz(("a.npy", ARRAY), flags=1), "'a' under a password"),
    "npz of many": (
        "x.npz",
        npz(*((f"{a}{b}.npy", b"") for a in LETTERS for b in LETTERS)),
        "got keys: aa, ab, .*, aj and 90 more$",
    ),
    "csv with a NUL": ("x.csv", content(b"a,b\n1,\x002\n"), "a byte of 0 in line 2: save it as te"),
    "csv of NULs": ("x.csv", content(b"", then_zeros=2 * GIB), "a byte of 0 in line 1: save it"),
    "csv in UTF-16": ("x.csv", content("a,b\n1,2\n".encode("utf-16")), "UTF-16: save it as UTF-8"),
    "csv in Latin-1": ("x.csv", content(b"a,b\n1,2\n1,\xe9"), "a byte of 0xe9 in line 3: save"),
    "csv of one line": ("x.csv", content(b"1," * 2**24), "and more in line 1: write a row a datum"),
    "csv with an open quote": (
        "x.csv",
        content(b'a,b\n1,2\n1,"2\n' + b"3,4\n" * 50000),
        "got a longer one from line 3 on: is a quote there without its pair",
    ),
    "csv with an open quote at its end": (
        "x.csv",
        content(b"a,b\n" + b"3,4\n" * 5000 + b'1,"2\n'),
        r"expected a number in line 5002, column 'b', got '2\\n'",
    ),
    "csv with semicolons": (
        "x.csv",
        content(b"a;b\n1,5;2,5\n"),
        "expected commas .* got ';': pandas.read_csv.* reads it, with decimal=',' where",
    ),
    "parquet cut off": ("x.parquet", cut(table({"a": [1.0]}), 50), "readable .parquet file, got"),
    "parquet of lists": (
        "x.parquet",
        table({"a": [[1.0]]}),
        "in column 'a', got list<.*leave it o",
    ),
    "parquet of words": (
        "x.parquet",
        table({"a": pa.array(["a"]).dictionary_encode()}),
        "expected numbers in column 'a', got dictionary",
    ),
    "parquet of two of a name": (
        "x.parquet",
        lambda path: parquet.write_table(
            pa.Table.from_arrays([pa.array([1.0]), pa.array([2.0])], names=["a", "a"]), path
        ),
        "got several of the name 'a': rename them",
    ),
    "picture of 10,000 million pixels": (
        "x",
        folder(a__png=png(10**5, 10**5)),
        "expected at most 89478485 pixels, .* got 10000000000: make it smaller, or raise PIL",
    ),
    "picture of 169 million pixels": (
        "x",
        folder(a__png=png(13000, 13000)),
        "expected at most 89478485 pixels, .* got 169000000: make it smaller, or raise PIL",
    ),
    "picture of 16 bits": (
        "x",
        folder(a__png=png(1, 1, kind=2, depth=16, data=bytes(7))),
        "expected 8 bits a channel, got 16 in mode RGB",
    ),
    "picture of 16 bits in words": (
        "x",
        folder(a__ppm=b"P6 1 1 65535\n" + bytes(6)),
        "expected 8 bits a channel, got 16 in mode RGB",
    ),
    "picture that moves": ("x", folder(a__webp=two_frames), "expected one picture, got 2: save"),
    "picture in pages": ("x", folder(a__tif=two_frames), "expected one picture, got 2: save each"),
    "picture that is a program": (
        "x",
        folder(a__png=b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"),
        "cannot identify image file",
    ),
    "picture from a pipe": ("x", folder(a__png=os.mkfifo), PIPE),
    "picture that is gone": (
        "x",
        folder(a__png=lambda path: path.symlink_to("gone")),
        "got a link to a file that is not there",
    ),
    "gzipped IDX file with more": ("x.gz", gz(800, idx(2, 2, 2)), r"8 values .* got more"),
    "IDX file that claims too much": (
        "x.gz",
        gz(0, idx(2**31, 2**15, 2**15)),
        r"of shape \(2147483648, 32768, 32768\) takes 2 EiB of memory to read",
    ),
    "IDX file of nothing": ("x.idx", content(idx(5, 0, 28)), "at least one value, got shape"),
    "dSprites with a header of 2 GiB": (
        "imgs.npz",
        npz(("latents_classes.npy", LONG_HEADER)),
        "EO",
    ),
    "CelebA's lists as pipes": ("faces", lists, PIPE),
    "pipe": ("x.npy", os.mkfifo, PIPE),
    "device": ("x.csv", lambda path: path.symlink_to("/dev/zero"), PIPE),
    "link to itself": ("x.parquet", lambda path: path.symlink_to(path), "Too many levels of symb"),
    "long name": ("x" * 300 + ".npy", lambda path: None, "File name too long"),
    "name with a NUL": ("x\0.npz", lambda path: None, "got no such file"),
}
READERS: dict[str, Callable[[Path], object]] = {
    "x": image_folder,
    "x.idx": lambda path: read_idx(path, 3),
    "x.gz": lambda path: read_idx(path, 3),
    "imgs.npz": dsprites,
    "faces": celeba,
}


@contextmanager
def little_memory_and_time() -> Iterator[None]:
    """Let this process allocate so much more at most, and run for so long."""

    def too_long(*_: object) -> None:
        raise AssertionError(f"expected an answer within {SECONDS} s")

    held = int(Path("/proc/self/status").read_text().partition("VmData:")[2].split()[0]) * 1024
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    handler = signal.signal(signal.SIGALRM, too_long)
    resource.setrlimit(resource.RLIMIT_DATA, (held + SPARE, limits[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_DATA, limits)


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Read a table and a picture, so that no library is loaded while memory is little."""
    path = tmp_path_factory.mktemp("warm")
    content(b"a,b\n1,2\n")(path / "x.csv")
    table({"a": [1.0]})(path / "x.parquet")
    folder(a__png=png(1, 1, data=bytes(2)))(path / "x")
    for name in ("x.csv", "x.parquet", "x"):
        as_tensor(path / name)


@pytest.mark.parametrize(("name", "write", "said"), CASES.values(), ids=CASES)
def test_what_is_hostile_or_damaged_is_refused_in_one_sentence_at_once(
    tmp_path: Path, name: str, write: Write, said: str
) -> None:
    path = tmp_path / name
    write(path)
    with little_memory_and_time(), pytest.raises(DataError, match=said) as caught:
        READERS.get(name, as_tensor)(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(tmp_path) in text


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("npy")])
def test_mapping_a_file_refuses_the_same(tmp_path: Path, case: str) -> None:
    _, write, said = CASES[case]
    write(tmp_path / "x.npy")
    if case == "npy of more than there is":
        with little_memory_and_time():
            array = np.lib.format.open_memmap(tmp_path / "x.npy", mode="r")
        assert array.shape == (5 * GIB,)
        return
    with little_memory_and_time(), pytest.raises(DataError, match=said):
        memory_mapped(tmp_path / "x.npy")


def test_the_remedies_are_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = np.array([(1.0, 2.0)], [("a", "f8"), ("b", "f8")])
    plain = recfunctions.structured_to_unstructured(fields)
    content(npy(plain))(tmp_path / "x.npy")
    assert as_tensor(tmp_path / "x.npy").tolist() == [[1.0, 2.0]]
    folder(a__png=png(20, 20, data=bytes(21 * 20)))(tmp_path / "x")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DataError, match=r"raise PIL\.Image\.MAX_IMAGE_PIXELS if you trust it"):
        image_folder(tmp_path / "x")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert image_folder(tmp_path / "x").shape == (1, 3, 20, 20)


def test_pictures_that_do_not_fit_together_are_refused_before_they_are_read(tmp_path: Path) -> None:
    first = png(1000, 1000, data=bytes(1001 * 1000))
    folder(**{f"a{index}__png": b"" if index else first for index in range(20)})(tmp_path / "x")
    said = "20 pictures of 1000 x 1000 pixels takes 228.9 MiB of memory .* give a smaller size"
    with little_memory_and_time(), pytest.raises(DataError, match=said):
        image_folder(tmp_path / "x")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: (path / "b").mkdir(0), "x/b: expected a readable folder, got: Permission "),
        (lambda path: path.chmod(0), "x: expected a readable folder, got: Permission denied"),
        (lambda path: (path / "a.png").chmod(0), "a.png: expected a readable image, got: Permiss"),
    ],
    ids=["folder in it", "folder", "picture"],
)
def test_what_may_not_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Write, said: str
) -> None:
    folder(a__png=png(1, 1, data=bytes(2)))(tmp_path / "x")
    spoil(tmp_path / "x")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)  # the folders around it may be another user's
    user = os.geteuid()
    os.seteuid(NOBODY if user == 0 else user)
    try:
        with pytest.raises(DataError, match=said):
            image_folder("x")
    finally:
        os.seteuid(user)
        (tmp_path / "x").chmod(0o755)
