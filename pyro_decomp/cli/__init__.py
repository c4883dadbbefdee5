"""The command line, words in and words out; never a setting of what a run is made of."""

import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from pyro_decomp.cli.commands import app
from pyro_decomp.cli.failures import INTERRUPTED


def main(words: Sequence[str] | None = None) -> None:
    """Run ``pyro-decomp``.

    Args:
        words: What follows the name of the program; those of this process by default.

    Raises:
        SystemExit: Always: 0 done, 1 an error, 2 words that make no command, 130 interrupted.
    """
    try:
        app(args=words, prog_name="pyro-decomp")
    except SystemExit as ended:
        if words is None and ended.code == INTERRUPTED:
            _leave(INTERRUPTED)
        raise


def _leave(code: int) -> None:
    """End the process without taking torch apart, which takes a second of a slow processor."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # whoever read it may be gone
            stream.flush()
    os._exit(code)
