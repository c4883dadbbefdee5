import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_decomp.data import as_tensor
from pyro_decomp.errors import DataError

ROWS = [[1.0, -2.5], [3.0, 4e-3]]


def npy(path: Path, values: Any) -> None:
    with path.open("wb") as file:
        np.save(file, values)


def npz(path: Path, **arrays: Any) -> None:
    with path.open("wb") as file:
        np.savez(file, **arrays)


def cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


GOOD = {
    "npy": ("x.npy", lambda p: npy(p, np.array(ROWS)), {}),
    "npy in Fortran order": ("x.npy", lambda p: npy(p, np.asfortranarray(ROWS)), {}),
    "npz": ("x.npz", lambda p: npz(p, only=np.array(ROWS)), {}),
    "npz by key": ("x.npz", lambda p: npz(p, a=np.ones(3), b=np.array(ROWS)), {"key": "b"}),
    "csv": ("x.csv", lambda p: p.write_text("1,-2.5\n3,4e-3\n"), {}),
    "upper case": ("X.CSV", lambda p: p.write_text("1,-2.5\n3,4e-3\n"), {}),
    "csv with header": ("x.csv", lambda p: p.write_text("a,b\n1,-2.5\n3,4e-3\n"), {}),
    "csv from a spreadsheet": (
        "x.csv",
        lambda p: p.write_bytes(b'\xef\xbb\xbf"a, 1","b"\r\n"1",-2.5\r\n\r\n3, 4e-3\r\n'),
        {},
    ),
    "csv by name": (
        "x.csv",
        lambda p: p.write_text("who,b,a\nann,-2.5,1\nbob,4e-3,3\n"),
        {"columns": ["a", "b"]},
    ),
    "csv by position": (
        "x.csv",
        lambda p: p.write_text("ann,-2.5,1\nbob,4e-3,3\n"),
        {"columns": [2, 1]},
    ),
}


@pytest.mark.parametrize("kind", [os.fspath, lambda path: path], ids=["str", "Path"])
@pytest.mark.parametrize(("name", "write", "options"), GOOD.values(), ids=GOOD)
def test_every_kind_of_file_becomes_the_same_tensor(
    tmp_path: Path,
    name: str,
    write: Callable[[Path], object],
    options: dict[str, Any],
    kind: Callable[[Path], object],
) -> None:
    write(tmp_path / name)
    tensor = as_tensor(kind(tmp_path / name), **options)
    torch.testing.assert_close(tensor, torch.tensor(ROWS), rtol=0, atol=0)


def test_one_column_is_still_a_table(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    assert as_tensor(path, columns=["b"]).tolist() == [[2.0], [4.0]]


BAD = {
    "missing": ("x.npy", lambda p: None, {}, "expected an existing file, got no such file"),
    "unknown ending": (
        "x.txt",
        lambda p: p.write_text("1,2"),
        {},
        r"expected a file ending in \.npy, \.npz, \.csv, \.parquet, got '\.txt'",
    ),
    "key of npy": ("x.npy", lambda p: npy(p, ROWS), {"key": "a"}, "key: .* no keys, got 'a'"),
    "columns of npy": ("x.npy", lambda p: npy(p, ROWS), {"columns": [0]}, r"columns: .* got \[0\]"),
    "pickled npy": (
        "x.npy",
        lambda p: npy(p, np.array([{}, None])),
        {},
        r"expected a readable \.npy file, got: .*allow_pickle=False",
    ),
    "truncated npy": (
        "x.npy",
        lambda p: (npy(p, ROWS), cut(p, -3)),
        {},
        r"expected a readable \.npy file, got: ",
    ),
    "headless npy": ("x.npy", lambda p: p.write_bytes(b"junk"), {}, r"readable \.npy file"),
    "empty npy": ("x.npy", lambda p: p.write_bytes(b""), {}, r"readable \.npy file"),
    "words in npy": ("x.npy", lambda p: npy(p, np.array(["a"])), {}, "real numbers, .* <U1"),
    "nan in npy": (
        "x.npy",
        lambda p: npy(p, [[1.0], [np.nan]]),
        {},
        "finite numbers .* in 1 of 2 rows, the first of them row 1",
    ),
    "truncated npz": (
        "x.npz",
        lambda p: (npz(p, a=ROWS), cut(p, -30)),
        {},
        r"readable \.npz file, got: ",
    ),
    "corrupt npz": (
        "x.npz",
        lambda p: (
            npz(p, a=np.zeros(99)),
            p.write_bytes(p.read_bytes().replace(b"\0" * 9, b"oops" * 3)),
        ),
        {},
        r"readable \.npz file, got: ",
    ),
    "not an npz": ("x.npz", lambda p: npy(p, ROWS), {}, r"readable \.npz file, got: "),
    "choice of npz": ("x.npz", lambda p: npz(p, a=ROWS, b=ROWS), {}, "a key .* got keys: a, b"),
    "npz of nothing": ("x.npz", npz, {}, "got keys: none"),
    "wrong key": (
        "x.npz",
        lambda p: npz(p, a=ROWS, b=ROWS),
        {"key": "c"},
        "expected a key among a, b, got 'c'",
    ),
    "word in csv": (
        "x.csv",
        lambda p: p.write_text("a,b\n1,2\n3,four\n"),
        {},
        "expected a number in line 3, column 'b', got 'four'",
    ),
    "digits apart in csv": (
        "x.csv",
        lambda p: p.write_text("a,b\n1,2\n3,1_0\n"),
        {},
        r"expected a number in line 3, column 'b', got '1_0'",
    ),
    "gap in csv": (
        "x.csv",
        lambda p: p.write_text("1,2\n3,\n"),
        {},
        r"expected a number in line 2, column 1 \(counted from 0\), got ''",
    ),
    "words below words": (
        "x.csv",
        lambda p: p.write_text("ann,7,1\nbob,2,3\n"),
        {},
        "expected a number in line 1, column 0 .* got 'ann'",
    ),
    "ragged csv": (
        "x.csv",
        lambda p: p.write_text("a,b\n1,2\n\n3,4,5\n"),
        {},
        "expected 2 columns as in the first line, got 3 in line 4",
    ),
    "empty csv": ("x.csv", lambda p: p.write_text(""), {}, "expected at least one value"),
    "header alone": ("x.csv", lambda p: p.write_text("a,b\n"), {}, r"got shape \(0, 2\)"),
    "unknown column": (
        "x.csv",
        lambda p: p.write_text("a,b\n1,2\n"),
        {"columns": ["c"]},
        "expected columns among 0 to 1, or among a, b, got 'c'",
    ),
    "column of no header": (
        "x.csv",
        lambda p: p.write_text("1,2\n"),
        {"columns": ["c"]},
        r"among 0 to 1 \(the file has no header\), got 'c'",
    ),
    "column too far": ("x.csv", lambda p: p.write_text("1,2\n"), {"columns": [2]}, "got 2$"),
    "binary csv": ("x.csv", lambda p: p.write_bytes(b"\xff\xfe1,2"), {}, r"readable \.csv file"),
    "infinity in csv": ("x.csv", lambda p: p.write_text("1\ninf\n"), {}, "first of them row 1"),
}


@pytest.mark.parametrize(("name", "write", "options", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_one_sentence_that_names_it(
    tmp_path: Path,
    name: str,
    write: Callable[[Path], object],
    options: dict[str, Any],
    message: str,
) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(DataError, match=message) as caught:
        as_tensor(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith((f"{path}: ", "key: ", "columns: "))


def test_a_folder_is_one_of_images(tmp_path: Path) -> None:
    folder = tmp_path / "x.npy"
    folder.mkdir()
    with pytest.raises(DataError, match=r"expected images ending in .* got none"):
        as_tensor(folder)
    levels = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(2, 4, 5)
    for index, image in enumerate(levels):
        Image.fromarray(image).save(folder / f"{index}.png")
    expected = torch.from_numpy(levels)[:, None].expand(2, 3, 4, 5) / 255.0
    assert torch.equal(as_tensor(folder), expected)
