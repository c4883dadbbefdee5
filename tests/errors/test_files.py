"""Files are written whole, whoever else writes them, and what was left half there goes."""

import threading
from pathlib import Path

import pytest

from pyro_decomp.errors import tidied, unfinished, write_whole


def test_a_picture_that_a_killed_process_left_goes(tmp_path: Path) -> None:
    left, new = unfinished(tmp_path / "a.png"), unfinished(tmp_path / "b.png")
    left.touch()
    with tidied(tmp_path):
        assert left.exists()
        new.touch()
    assert [left.exists(), new.exists()] == [False, True]


def test_many_write_a_file_at_once(tmp_path: Path) -> None:
    contents = [bytes([65 + i]) * 10_000 for i in range(8)]
    failed: list[Exception] = []

    def write(content: bytes) -> None:
        try:
            write_whole(tmp_path / "file", content)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert (tmp_path / "file").read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_error_names_the_file_that_was_to_be_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(tmp_path / "absent" / "file", b"")
    name = str(tmp_path / "absent" / "file")
    assert str(caught.value) == f"[Errno 2] No such file or directory: {name!r}"
