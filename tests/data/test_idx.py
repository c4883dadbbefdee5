import gzip
from pathlib import Path

import numpy as np
import pytest

from pyro_decomp.data.idx import read_idx
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
    "more values": ("a", HEADER + VALUES + b"!", r"expected 12 values for shape \(3, 4\), got 13"),
    "not gzipped": ("a.gz", HEADER + VALUES, "expected a readable IDX file, got: Not a gzipped"),
    "cut gzip": (
        "a.gz",
        gzip.compress(HEADER + VALUES)[:-9],
        "expected a readable IDX file, got: ",
    ),
    "missing": ("b/a", None, "expected a readable IDX file, got: .*No such file"),
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
