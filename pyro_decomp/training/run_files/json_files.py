"""The one form in which the package writes JSON: strict, of plain values, whole files at a time.

Internal. Imports neither numpy nor torch, so that tables of runs are read in an instant.
"""

import errno
import json
import math
import stat
from pathlib import Path
from typing import Any

from pyro_decomp.errors import write_whole

NOT_FINITE = "float"  # the key of a float that JSON has no number for, as {"float": "inf"}
MOST_DIGITS = 1000  # of a whole number, of which Python would read 4,300


def plain(value: Any) -> Any:
    """A value as JSON gives it back: tuples are lists, and what JSON has no type for is its text.

    >>> plain((1, (2.5, None), Path("a")))
    [1, [2.5, None], 'a']
    """
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def is_plain(value: Any) -> bool:
    """Whether JSON gives a value back, but for lists in place of tuples and text of paths."""
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str | Path)


def marked(value: Any) -> Any:
    """A plain value whose infinite floats, and those that are not a number, JSON can hold.

    They are as ``{"float": "inf"}``, which :func:`read_json` turns back.

    >>> marked({"a": [1, float("inf")]})
    {'a': [1, {'float': 'inf'}]}
    """
    if isinstance(value, dict):
        return {name: marked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [marked(item) for item in value]
    is_other = isinstance(value, float) and not math.isfinite(value)
    return {NOT_FINITE: str(value)} if is_other else value


def to_json(value: Any, *, indent: int | None = None) -> bytes:
    """The text of a value in JSON's types, in UTF-8, with a line break at its end.

    Raises:
        ValueError: A float is infinite or not a number.
    """
    return json.dumps(value, indent=indent, allow_nan=False).encode() + b"\n"


def write_json(path: Path, value: Any) -> None:
    """Write a value in JSON's types to a file, whole or not at all.

    Raises:
        ValueError: A float is infinite or not a number.
        OSError: The file cannot be written; what was there before stays.
    """
    write_whole(path, to_json(value, indent=2))


def read_json(path: Path, most_bytes: int = 2**26) -> Any:
    """Read the value that a file of JSON holds.

    Raises:
        OSError: The file cannot be read, is no plain file or has more bytes.
        ValueError: It is not JSON, is nested too deeply, or has a key twice; says what it has.
    """
    regular(path, most_bytes)
    try:
        return json.loads(
            path.read_bytes(), object_pairs_hook=_restored, parse_constant=_refuse, parse_int=_whole
        )
    except RecursionError:
        raise ValueError("lists or objects that are nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"other text at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise ValueError("bytes that are no text in UTF-8") from None


def regular(path: Path, most_bytes: int | None = None) -> None:
    """Check that a path is one of a plain file, whose reading neither waits nor fills the memory.

    Raises:
        OSError: There is none, it is something else, or has more bytes.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, "it is a folder")
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no plain file")
    if most_bytes is not None and status.st_size > most_bytes:
        size, most = status.st_size / 2**20, most_bytes / 2**20
        raise OSError(errno.EFBIG, f"it has {size:.0f} MiB, which is more than {most:.0f}")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant}, which is none")


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _restored(pairs: list[tuple[str, Any]]) -> Any:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key twice")
    is_float = value.keys() == {NOT_FINITE} and value[NOT_FINITE] in ("inf", "-inf", "nan")
    return float(value[NOT_FINITE]) if is_float else value
