from pathlib import Path

from pyro_decomp.sweep.folder import attempt


def test_members_are_kept_out_after_two_deaths_without_progress(tmp_path: Path) -> None:
    marker = tmp_path / ".running"
    attempts = [attempt(marker, 3) for _ in range(4)]  # kept: what is let go of ends
    assert [one.__enter__() for one in attempts] == [False, False, True, True]


def test_progress_begins_the_count_anew(tmp_path: Path) -> None:
    marker = tmp_path / ".running"
    attempts = [attempt(marker, records) for records in (3, 3, 4, 4, 4)]
    assert [one.__enter__() for one in attempts] == [False, False, False, True, True]


def test_an_attempt_that_ends_leaves_nothing(tmp_path: Path) -> None:
    marker = tmp_path / ".running"
    for _ in range(4):
        with attempt(marker, 3) as is_dangerous:
            assert marker.exists()
        assert not is_dangerous
        assert not marker.exists()


def test_a_marker_that_was_cut_off_is_one_death(tmp_path: Path) -> None:
    marker = tmp_path / ".running"
    marker.write_text("{")
    first, second = attempt(marker, 0), attempt(marker, 0)
    assert [first.__enter__(), second.__enter__()] == [False, True]
