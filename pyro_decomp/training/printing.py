"""Standard streams that never end what prints to them."""

import io
import os
import sys
from typing import IO, Any


class _Lost(io.FileIO):
    """A file whose writing never fails: what cannot be written is lost.

    Attributes:
        error: Why something was, the first time; None if nothing was.
    """

    error: OSError | None = None

    def write(self, content: Any, /) -> int:
        """Write what can be written, and say that it all was."""
        try:
            return super().write(content) or len(content)
        except OSError as error:
            self.error = self.error or error
            return len(content)


def keep_printing() -> None:
    """Make standard output and error such that no print fails, and keep other files out of them.

    A reader that has gone away, a full disk, a terminal that has closed or one without the letters
    loses what is printed, and nothing else. A stream that is closed becomes the null device, since
    the next file that is opened would else be written to by whatever prints.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            lowest = os.open(os.devnull, os.O_RDWR)  # of the numbers that are free: this one
            os.set_inheritable(lowest, True)
    sys.stdout, sys.stderr = _kept(sys.stdout, 1), _kept(sys.stderr, 2)


def why_lost(stream: IO[str]) -> OSError | None:
    """Why something that was printed is lost; None where nothing is, or its reader went away."""
    stream.flush()
    error = getattr(getattr(getattr(stream, "buffer", None), "raw", None), "error", None)
    return None if isinstance(error, BrokenPipeError) else error


def _kept(stream: Any, number: int) -> Any:
    """A stream that takes the place of one, to the same file."""
    if stream is not None and not isinstance(stream, io.TextIOWrapper):
        return stream  # a notebook's, say, which is not ours
    if stream is not None:
        try:
            stream.flush()
        except OSError:
            return stream
    raw = _Lost(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="backslashreplace" if number == 2 else "replace",
        line_buffering=getattr(stream, "line_buffering", True),
        write_through=getattr(stream, "write_through", False),
    )
