"""Compiled code kept for the next process: in a folder that is the user's alone, under digests."""

import atexit
import ctypes
import hashlib
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path

from pyro_decomp.errors import write_whole

MOST_KEPT = 256  # libraries, of some 50 KB each
MOST_BYTES = 2**24  # of one of them
LEFT_BEHIND = 3600.0  # seconds after which an unfinished file is that of a killed process
DIGEST = hashlib.sha256

_loaded = count(1)


def folder() -> Path:
    """The user's cache, made where it is not there: ``$XDG_CACHE_HOME/pyro_decomp``.

    By default ``~/.cache/pyro_decomp``.

    Raises:
        OSError: There is no home, the folder cannot be made, or it is not the user's alone; in a
            clause with the remedy.
    """
    home = os.environ.get("XDG_CACHE_HOME", "")
    try:
        path = (Path(home) if home else Path.home() / ".cache").absolute() / "pyro_decomp"
    except RuntimeError as error:  # neither HOME nor a user of this number
        raise OSError("there is no home folder; XDG_CACHE_HOME names another folder") from error
    if reason := why_not_private(path, "XDG_CACHE_HOME"):
        raise OSError(reason)
    return path


def why_not_private(path: Path, variable: str) -> str:
    """Make a folder, and say why others could put code into it; empty if they cannot.

    It must belong to the user and be writable by no other. The folders above it, and those to which
    links among these lead, may be the administrator's too, and writable by all where nobody can
    rename what is another's in them, as in ``/tmp``.

    Args:
        path: The folder.
        variable: The variable of the environment that names another one.
    """
    other = f"{variable} names another folder"
    try:
        for each in (*reversed(path.parents), path):
            if not each.is_dir():
                each.mkdir(mode=0o700, exist_ok=True)
        reason = _reason(path)
    except OSError as error:
        return f"{path} cannot be used ({error.strerror}); {other}"
    return reason and f"{reason}; {other}"


def _reason(path: Path) -> str:
    if not hasattr(os, "getuid"):  # Windows, where a user's folders are the user's
        return ""
    if path.is_symlink():
        return f"{path} is a link to another folder"
    for each in dict.fromkeys((path, *path.parents, *path.resolve().parents)):
        found = each.lstat()
        if found.st_uid != os.getuid() and (each == path or found.st_uid != 0):
            return f"{each} belongs to another user"
        is_shared = stat.S_ISDIR(found.st_mode) and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if is_shared and (each == path or not found.st_mode & stat.S_ISVTX):
            return f"others can write to {each} (chmod go-w {each})"
    return ""


@cache
def temporary() -> Path:
    """A folder of this process alone, which is removed with it."""
    path = Path(tempfile.mkdtemp(prefix="pyro-decomp-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def read(path: Path, key: str) -> bytes | None:
    """A library that :func:`keep` wrote for a key; None if it is not there, or not as it was."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(os.open(path, flags), "rb") as file:  # noqa: PTH123 (looked at as it was opened)
            found = os.fstat(file.fileno())
            is_mine = not hasattr(os, "getuid") or (
                found.st_uid == os.getuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            )
            if not is_mine or not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
                return None
            content = file.read()
    except OSError:
        return None
    size = DIGEST().digest_size
    code, digest = content[:-size], content[-size:]
    return code if digest == DIGEST(key.encode() + code).digest() else None


def keep(path: Path, key: str, code: bytes) -> None:
    """Write a library in one instant, with a digest of its key and bytes behind it.

    Raises:
        OSError: It cannot be written.
    """
    write_whole(path, code + DIGEST(key.encode() + code).digest())
    path.chmod(0o600)
    _prune(path.parent)


def _prune(folder: Path) -> None:
    """Remove the oldest of too many libraries, and what killed processes left half written."""
    with suppress(OSError):  # another process prunes too
        by_age = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime)
        before = time.time() - LEFT_BEHIND
        left = [path for path in folder.glob(".*") if path.stat().st_mtime < before]
        for path in (*by_age[:-MOST_KEPT], *left):
            path.unlink(missing_ok=True)


def loaded(code: bytes, name: str) -> ctypes.CDLL:
    """Load a library from its bytes, so that nothing can come between checking and loading it.

    It is loaded from memory, which no file system forbids to execute, where the system can do that,
    and else from :func:`temporary`.

    Raises:
        OSError: It is no library of this system.
    """
    number = next(_loaded)
    with suppress(OSError, AttributeError), open(os.memfd_create(name), "wb") as file:  # noqa: PTH123
        file.write(code)
        file.flush()
        # a library that is loaded under the same path would be given instead: each is found by
        # another spelling, as numbers of files are used again
        spelt = f"{number:b}".replace("0", "/").replace("1", "./")
        return ctypes.CDLL(f"/proc/self/fd/{spelt}{file.fileno()}")
    path = temporary() / f"{name}-{os.getpid()}-{number}.so"
    path.write_bytes(code)
    try:
        return ctypes.CDLL(str(path))
    finally:
        with suppress(OSError):  # Windows does not let go of it
            path.unlink()
