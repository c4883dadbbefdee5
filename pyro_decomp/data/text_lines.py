"""The lines of a file of text, none so long that it fills the memory; internal."""

from collections.abc import Iterator
from pathlib import Path

MAX_LINE = 2**24  # characters
ESCAPES = 0xDC00  # what Python's "surrogateescape" adds to bytes that are no text
UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")  # the bytes by which such a file begins


def text_lines(path: Path) -> Iterator[str]:
    """Read lines of UTF-8 text with their ends.

    Args:
        path: The file.

    Raises:
        ValueError: A line is too long, has a NUL, or is not UTF-8; its number is told.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if line.startswith(UTF_16):
                raise ValueError("text in UTF-16: save it as UTF-8")
            if "\0" in line:
                raise ValueError(f"a byte of 0 in line {number}: save it as text in UTF-8")
            try:
                line.encode()
            except UnicodeEncodeError as error:
                byte = ord(line[error.start]) - ESCAPES
                raise ValueError(
                    f"a byte of {byte:#x} in line {number}: save it as text in UTF-8"
                ) from None
            if len(line) == MAX_LINE:
                raise ValueError(
                    f"{MAX_LINE} characters and more in line {number}: write a row a datum, or a "
                    ".npy file"
                )
            yield line
