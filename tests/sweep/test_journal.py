import resource
from pathlib import Path

import pytest

from pyro_decomp.errors import RunError
from pyro_decomp.sweep.journal import Record, journal, read_journal

FIRST = Record(
    "a", "finished", "", 3, 0.5, "single", {"elbo": -1.5, "kl": None}, {"train.mig": 0.1}
)
SECOND = Record("b", "failed", "no way", 0, 0.0, "batched", asked=("mig",))


def test_what_was_appended_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "members.jsonl"
    assert read_journal(path) == {}
    for record in (FIRST, SECOND):
        with journal(path) as lines:
            lines.append(record)
    assert read_journal(path) == {"a": FIRST, "b": SECOND}


def test_the_last_record_of_a_member_counts(tmp_path: Path) -> None:
    path, again = tmp_path / "members.jsonl", Record("b", "finished", "", 3, 0.1, "single")
    with journal(path) as lines:
        for record in (FIRST, SECOND, again):
            lines.append(record)
    assert read_journal(path) == {"a": FIRST, "b": again}


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_a_line_that_was_cut_off_is_as_if_never_written(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "members.jsonl"
    with journal(path) as lines:
        lines.append(FIRST)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    assert read_journal(path) == {"a": FIRST}
    with journal(path) as lines:
        lines.append(SECOND)
    assert path.read_bytes().startswith(whole)
    assert read_journal(path) == {"a": FIRST, "b": SECOND}


def test_a_record_that_did_not_fit_on_the_disk_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "members.jsonl"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with journal(path) as lines:
        lines.append(FIRST)
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limit[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                lines.append(SECOND)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert path.stat().st_size == size + 10  # half of it is there
        assert read_journal(path) == {"a": FIRST}
        lines.append(SECOND)
    assert read_journal(path) == {"a": FIRST, "b": SECOND}


@pytest.mark.parametrize("line", [b"x", b"{}", b"[]", b'{"member": "a"}', b'"a"', b"\xff"])
def test_a_whole_line_that_is_no_record_is_told(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "members.jsonl"
    with journal(path) as lines:
        lines.append(FIRST)
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(RunError, match=r"members\.jsonl:2: expected the record of a member"):
        read_journal(path)
