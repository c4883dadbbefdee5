"""What processes do to the files below a folder, counted; one of them ended or failed at one of it.

A library that is preloaded (``file_faults.c``) sees calls of the C library, and so what Python, C++
and compilers do alike. It counts them in all processes that are started with
:func:`environment`, and does at the one that is asked for what :class:`Faults` says.
"""

import ctypes
import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

KINDS = ("count", "kill", "torn", "fail", "fail on")
LOGGED = 4096


class State(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_long) for name in ("count", "at", "kind", "error")),
        ("folder", ctypes.c_char * 1024),
        ("log", ctypes.c_char * 64 * LOGGED),
    )


def why_not() -> str:
    """Why faults cannot be injected here; empty if they can."""
    is_there = sys.platform == "linux" and shutil.which("cc")
    return "" if is_there else "preloads a library that the C compiler makes, on Linux"


def environment(folder: Path) -> dict[str, str]:
    """Make the library and its state in a folder; variables of the processes to watch."""
    library, state = folder / "file_faults.so", folder / "file_faults"
    source = Path(__file__).with_suffix(".c")
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"]
    subprocess.run(command, check=True)
    state.write_bytes(bytes(ctypes.sizeof(State)))
    return {"LD_PRELOAD": str(library), "FILE_FAULTS": str(state)}


class Faults:
    """The state that this process shares with those that it starts."""

    def __init__(self) -> None:
        with Path(os.environ["FILE_FAULTS"]).open("r+b") as file:
            self._state = State.from_buffer(mmap.mmap(file.fileno(), 0))

    def watch(self, folder: str, kind: str = "count", at: int = 0, error: int = 0) -> None:
        """Count from 0 what is done below a folder, and at one of these operations do as said.

        Args:
            folder: An absolute path.
            kind: "kill": end before the operation; "torn": end once it is done, or half of what
                is written is; "fail": let it fail, half of what is written being there;
                "fail on": let it and all that follow fail.
            at: Which operation, from 1.
            error: Of which error it fails.
        """
        self._state.folder = b""
        self._state.count, self._state.at, self._state.error = 0, at, error
        self._state.kind = KINDS.index(kind)
        self._state.folder = os.fsencode(folder)

    def operations(self) -> list[str]:
        """End the watch; the operations that it saw."""
        self._state.folder = b""
        count = self._state.count
        assert count < LOGGED
        return [self._state.log[i].value.decode() for i in range(1, count + 1)]
