"""The one process that may write into a folder, and the file there that says which it is.

Internal. On one machine the kernel's lock of that file tells at once whether its writer lives. Of a
writer on another, with a shared file system, the file's time of change tells: the writer renews it,
and it is compared with that of a file written beside it, so that both are of one clock.
"""

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from pyro_decomp.errors import RunError, intended, unfinished
from pyro_decomp.training.run_files.writer_record import Record, started

NAME = ".writer.json"
BY_ITSELF = "metrics.json"  # has a lock of its own, as it is also written while a run trains

LONGEST = 10_000  # bytes of a record
RENEWED = 20.0  # seconds between signs of life
SILENT = 180.0  # seconds without one, after which a writer on another machine is taken for dead
MOMENT = 1.0  # seconds that a process that was just killed, or looks at a lock, may keep it
LOOK = 1.0  # seconds between looks for a sign of life
SETTLED = 1.0  # seconds after which whoever took over at the same instant is seen

Seen = tuple[Record | None, float]  # a lock's record, and when it was last renewed


class TakenOverError(RunError):
    """Another process writes where this one did."""


class Lock:
    """The right to write, which one process has at a time, and whose file says which.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.record = path, Record.own()
        self._part = unfinished(path)
        self._file = -1
        self._ended = threading.Event()

    def take(self, patience: float) -> None:
        """Take it once it is free.

        Args:
            patience: How many seconds to wait for a writer that lives.

        Raises:
            RunError: A process that lives has it.
        """
        first: Seen | None = None
        began = time.monotonic()
        while not self._try():
            waited = time.monotonic() - began
            is_taken, seen = self._look(is_silent=first is not None and waited > SILENT)
            if is_taken:
                break
            if seen and ((first and seen != first) or (is_taken is False and waited > patience)):
                raise RunError(
                    f"{self.path.parent} is being written by {seen[0] or 'another process'}: wait "
                    "until that has ended, stop it, or choose another folder with --out"
                )
            if is_taken is None and first is None:
                first, began = seen, time.monotonic()
                self._say_that_it_waits(first)
            time.sleep(LOOK if is_taken is None else MOMENT / 50)
        threading.Thread(target=self._renew, daemon=True).start()

    def check(self) -> None:
        """Make sure that no other has taken it, as one may after long silence of this process.

        Raises:
            TakenOverError: One has.
        """
        found = Record.read(self.path)
        if found is not None and found != self.record:
            raise TakenOverError(
                f"{self.path.parent} has been taken over by {found}, as nothing was heard of this "
                "process: it ends without writing there, and the other goes on with the run"
            )

    def give_back(self) -> None:
        """Give it back, if this process has it."""
        if os.getpid() != self.record.pid:  # a child's copy
            return
        self._ended.set()
        with suppress(OSError):  # it is no longer locked in any case
            self._part.unlink(missing_ok=True)
            if Record.read(self.path) == self.record:
                self.path.unlink()
        _TAKEN.discard(self)
        self.leave()

    def leave(self) -> None:
        """Close its file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _try(self) -> bool:
        """Put the file of this process in its place if none is there."""
        if not self._part.exists():  # the first time, or whoever had the lock removed it
            self.leave()
            try:
                self._file = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            except OSError as error:
                error.filename = str(self.path.parent)  # the name that a user knows
                raise
            os.write(self._file, json.dumps(asdict(self.record)).encode())
            _TAKEN.add(self)
            if _flock(self._file) is None:
                self.leave()
        try:
            os.link(self._part, self.path)
        except FileExistsError:
            return False
        except FileNotFoundError:
            return self._try()
        except OSError:  # a disk without links
            try:
                os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
            except FileExistsError:
                return False
            self._part.replace(self.path)
        self._part.unlink(missing_ok=True)
        return True

    def _look(self, *, is_silent: bool) -> tuple[bool | None, Seen | None]:
        """Take the place of the process that has it, if that is dead.

        Args:
            is_silent: Whether nothing has been heard of it for long.

        Returns:
            Whether it is taken, None where it is not known yet whether that process lives; and
            which was seen, None where that has changed since.
        """
        try:
            file = _opened(self.path)
        except FileNotFoundError:  # it was given back
            return False, None
        try:
            found = Record.parsed(os.read(file, LONGEST))
            is_free, is_sure = self._judged(file, found)
            seen = found, os.fstat(file).st_mtime
            if is_free or (is_free is None and is_silent):
                return self._take_over(file, is_sure=is_sure), None
            return is_free, seen
        except FileNotFoundError:  # it was given back, or whoever took it removed ours
            return False, None
        finally:
            os.close(file)

    def _judged(self, file: int, found: Record | None) -> tuple[bool | None, bool]:
        """Whether it is free, None where that is not known yet; and whether that is sure."""
        is_free = _flock(file)
        if found is not None and found.is_here:
            if is_free is not None:
                return is_free, True
            if found.namespace and found.namespace == self.record.namespace:
                return started(found.pid) != found.started, False
        os.utime(self._part)
        silent = self._part.stat().st_mtime - os.fstat(file).st_mtime
        return True if silent > SILENT else None, False

    def _take_over(self, file: int, *, is_sure: bool) -> bool:
        """Put the file of this process in the place of a dead one's."""
        if not os.path.samestat(os.fstat(file), self.path.stat()):
            return False
        self._part.replace(self.path)
        if not is_sure:  # else the kernel lets only one process come here with that file
            time.sleep(SETTLED)
        return Record.read(self.path) == self.record

    def _say_that_it_waits(self, seen: Seen | None) -> None:
        was = seen[0] if seen and seen[0] else "another process"
        warnings.warn(
            f"{self.path.parent} was being written by {was}: waiting up to {SILENT:.0f} s to see "
            "whether that has ended",
            stacklevel=6,
        )

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED):
            with suppress(OSError):
                if Record.read(self.path) == self.record:
                    os.utime(self.path)


_TAKEN: set[Lock] = set()


def _leave_to_parent() -> None:
    """Close the locks' files in a child, which would keep them locked after its parent's end."""
    for each in _TAKEN:
        each.leave()
    _TAKEN.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


@contextmanager
def writer(folder: Path, *, of: str = "", patience: float | None = None) -> Iterator[Lock]:
    """Be the one process that writes into a folder, which is made; remove what dead ones left.

    Where the writer before is dead, its place is taken. Where it is on another machine and may be
    either, that is waited for, with a warning.

    Args:
        folder: The folder of a run or sweep.
        of: One file of it that alone is to be written, :data:`BY_ITSELF`; by default all others.
        patience: How many seconds to wait for another writer, which lives, to end; by default a
            moment, as one that was just killed may take.

    Raises:
        RunError: Another process writes there, or a sweep that this is a member of; or no folder
            can be made there.
    """
    is_new = not (of or folder.exists())
    if not of:
        _check_sweep(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileNotFoundError, NotADirectoryError) as error:  # as in /proc, or below a file
            raise RunError(
                f"{folder}: expected a folder that can be made, got: {error.strerror}"
            ) from error
    held = Lock(folder / (f".{of}.writer" if of else NAME))
    try:
        held.take(MOMENT if patience is None else patience)
        ours = {of, held.path.name}
        for path in folder.iterdir():
            name = intended(path)
            if name and (name in ours or not (of or name == BY_ITSELF)):
                path.unlink(missing_ok=True)
        yield held
    finally:
        held.give_back()
        if is_new:
            with suppress(OSError):  # it is as it should be: not empty
                folder.rmdir()


def check_free(folder: Path) -> None:
    """Make sure that no process is writing into a folder.

    Raises:
        RunError: One is.
    """
    if (folder / NAME).exists():
        with writer(folder):
            pass


def is_passing(path: Path) -> bool:
    """Whether a file of a folder is a lock, what a killed process left, or an empty folder.

    The last are made on the way to ``x/..``.
    """
    try:
        return not any(path.iterdir())
    except NotADirectoryError:
        return path.name == NAME or bool(intended(path))
    except OSError:
        return False


def _check_sweep(folder: Path) -> None:
    """Make sure that no sweep whose member a folder is runs, but in this process or its parent."""
    where = folder.absolute()
    sweep = where.parent.parent
    if where.parent.name != "members" or not (found := Record.read(sweep / NAME)):
        return
    own = Record.own()
    is_near = (found.machine, found.namespace) == (own.machine, own.namespace)
    if not (is_near and found.pid in (own.pid, os.getppid())):
        check_free(sweep)


def _opened(path: Path) -> int:
    """Open a lock to look at it; for writing, where that may be, as some disks lock no other."""
    no_link = getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, os.O_RDWR | no_link)
    except PermissionError:  # another user's
        return os.open(path, os.O_RDONLY | no_link)


def _flock(file: int) -> bool | None:
    """Lock an open file for as long as it is open; None where the system has no such locks."""
    if sys.platform == "win32":
        return None
    import fcntl  # noqa: PLC0415 (Windows has none)

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
