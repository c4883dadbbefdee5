"""Files that can be read: whole, small enough for the memory, text a line at a time; internal."""

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from pyro_decomp.errors import DataError, memory

HEADER_BYTES = 2**16  # of an array, that are looked at; those of plain numbers have a hundred
LITTLE = 2**23  # bytes, for which it is not asked how many are free
FLOAT_BYTES = 4  # of torch's usual type, which other numbers become
MAX_LINE = 2**24  # characters
ESCAPES = 0xDC00  # what Python's "surrogateescape" adds to bytes that are no text
UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")  # the bytes by which such a file begins


def is_file(path: Path) -> bool:
    """Whether a path is that of a file that can be seen; unlike ``Path.is_file`` never an error."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: Path) -> bool:
    """Whether a path is that of a folder that can be seen; never an error."""
    return os.path.isdir(path)  # noqa: PTH112


def check_file(path: Path) -> None:
    """Check that a path is that of a file, which opening cannot wait for and reading ends.

    Raises:
        DataError: There is none, or a folder, pipe, socket or device.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        is_missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        got = "no such file" if is_missing else error.strerror
        if is_missing and path.is_symlink():
            got = "a link to a file that is not there"
        raise DataError(f"{path}: expected an existing file, got {got}") from error
    except ValueError as error:  # a name with a NUL
        raise DataError(f"{str(path)!r}: expected an existing file, got no such file") from error
    if not stat.S_ISREG(mode):
        got = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device: copy it to a file"
        raise DataError(f"{path}: expected an existing file, got {got}")


@contextmanager
def refuse_unreadable(path: Path, kind: str = "") -> Iterator[None]:
    """Turn whatever a damaged or missing file raises into one sentence.

    Args:
        path: The file.
        kind: What it is expected to be; by default a file of the ending of its name.

    Raises:
        DataError: The file is missing, or what is done inside failed.
    """
    check_file(path)
    try:
        yield
    except (DataError, Warning):
        raise
    except Exception as error:  # a reader of damaged files raises what it likes
        if memory.is_short(error):
            raise DataError(f"{path}: {memory.told(error)}: read fewer rows or columns") from error
        reason = getattr(error, "strerror", None) or str(error).split("\n", maxsplit=1)[0]
        raise DataError(
            f"{path}: expected a readable {kind or f'{path.suffix.lower()} file'}, "
            f"got: {reason or type(error).__name__}"
        ) from error


def refuse_larger(what: str, num_bytes: float, remedy: str) -> None:
    """Refuse what would take more memory than is free, before any is taken.

    Args:
        what: The file, and what in it.
        num_bytes: What it would take.
        remedy: How less would be enough.

    Raises:
        DataError: It does not fit.
    """
    if num_bytes <= LITTLE:
        return
    free = memory.free()
    if num_bytes > free:
        raise DataError(
            f"{what} takes {memory.text(num_bytes)} of memory to read, and {memory.text(free)} "
            f"are free: {remedy}"
        )


def array_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Read the header of an array in numpy's format, however long it says that it is.

    Args:
        stream: Whose next bytes they are.

    Returns:
        The shape, whether it is laid out column by column, the type, and the header's bytes.

    Raises:
        ValueError: It is damaged.
    """
    start = BytesIO(stream.read(HEADER_BYTES))
    version = npy.read_magic(start)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    try:
        shape, by_column, dtype = read(start)
    except (MemoryError, RecursionError) as error:  # so Python says that it is too deep
        raise ValueError("a header that describes no array") from error
    if any(size < 0 for size in shape):
        raise ValueError(f"an array of shape {shape}")
    return shape, by_column, dtype, start.tell()


def check_array(path: Path, stream: IO[bytes], size: int, *, key: str = "", mapped: bool) -> None:
    """Check that an array in numpy's format is of numbers, whole, and fits into memory.

    Args:
        path: The file, for messages.
        stream: The array from its first byte; its header is read.
        size: How many bytes the stream has.
        key: Which array it is of several.
        mapped: It stays on the disk, whatever its size.

    Raises:
        DataError: It does not fit.
        ValueError: It is damaged, or of something else.
    """
    shape, _, dtype, start = array_header(stream)
    if dtype.hasobject:
        raise ValueError(
            "Python objects, which are never unpickled (allow_pickle=False): save it as numbers, "
            "with array.astype(float)"
        )
    if dtype.names:
        raise ValueError(
            f"rows with the fields {', '.join(dtype.names)}: save "
            "numpy.lib.recfunctions.structured_to_unstructured(array)"
        )
    what = f"an array {f'{key!r} ' if key else ''}of shape {shape} and type {dtype}"
    held, needed = size - start, math.prod(shape) * dtype.itemsize
    if held != needed:
        more = ", with one array in a .npy file" if held > needed else ""
        raise ValueError(
            f"{held} bytes for {what}, which takes {needed}: write the file again{more}"
        )
    if not mapped:
        is_kept = dtype == np.float32
        refuse_larger(
            f"{path}: {what}",
            needed + (0 if is_kept else math.prod(shape) * FLOAT_BYTES),
            "memory_mapped(path) reads a .npy file a batch at a time",
        )


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
