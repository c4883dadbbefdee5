"""Whether attempts at a sweep keep being killed, as by a member that takes too much memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyro_decomp.training.json_files import read_json, write_json

MOST_DEATHS = 2  # in a row, without a member being recorded


@contextmanager
def attempt(marker: Path, num_records: int) -> Iterator[bool]:
    """Note in a file that a sweep is running, for as long as it is.

    Args:
        marker: The file; one that is there before is of an attempt that was killed.
        num_records: How many members have been recorded.

    Yields:
        Whether members are to be kept out of this process, since the last ``MOST_DEATHS`` attempts
        were killed before they recorded any.
    """
    deaths = _deaths(marker, num_records)
    write_json(marker, {"records": num_records, "deaths": deaths})
    try:
        yield deaths >= MOST_DEATHS
    finally:
        marker.unlink(missing_ok=True)


def _deaths(marker: Path, num_records: int) -> int:
    try:
        before = read_json(marker)
        return int(before["deaths"]) + 1 if before["records"] == num_records else 1
    except FileNotFoundError:
        return 0
    except (ValueError, TypeError, KeyError):  # of something else
        return 1
