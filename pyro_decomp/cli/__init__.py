"""The command line, words in and words out; never a setting of what a run is made of."""

import ctypes
import os
import sys
from collections.abc import Sequence

from pyro_decomp.cli.commands import app
from pyro_decomp.training.printing import keep_printing

WATCHED = ("LD_PRELOAD", "CUDA_INJECTION64_PATH")


def main(words: Sequence[str] | None = None) -> None:
    """Run ``pyro-decomp``.

    Args:
        words: What follows the name of the program; those of this process by default.

    Raises:
        SystemExit: Always: 0 done, 1 an error, 2 words that make no command; 130 ended
            by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
    """
    if words is None:
        keep_printing()
    try:
        app(args=words, prog_name="pyro-decomp")
    finally:
        if words is None:
            _leave_libraries_as_they_are()


def _leave_libraries_as_they_are() -> None:
    """Let this process end, once Python has, without taking the libraries of torch apart.

    That takes half a second and 120 MiB, and whatever they hold is the process's own. What was
    written by C is let out as at any end of a process. Where another program watches this one, as
    profilers do, it has its say at the end.
    """
    if sys.platform != "linux" or any(os.environ.get(name) for name in WATCHED):
        return
    try:
        system = ctypes.CDLL(None)
    except (MemoryError, OSError):  # there is no room for it
        return
    if hasattr(system, "on_exit"):  # as glibc has; what is registered last is called first
        system.on_exit(system._exit, None)
        system.on_exit(system.fcloseall, None)
