"""Whose code a run keeps: its source is executed where nobody but the user could have written it.

Internal. Nothing is executed here, and torch is not imported.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError, listed
from pyro_decomp.training.recorded.kept import FILE_NAME
from pyro_decomp.training.run_files.run_config import NAME

ROOT = 0  # who can write everything, but into whose run folders a stranger's run may be copied
IMPORTABLE = (".py", ".pyc", ".so")  # endings of what Python imports


def user() -> int | None:
    """The number of the user whose process this is; None where users have none, as on Windows."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def user_name(number: int) -> str:
    """The name of a user; the number where the system knows no name."""
    try:
        import pwd  # noqa: PLC0415 (Windows has none)

        return pwd.getpwuid(number).pw_name
    except (ImportError, KeyError):
        return f"user {number}"


def check_source(folder: Path, record: Mapping[str, Any], *, trust: bool = False) -> None:
    """Refuse to execute a folder's source if it is another than is on record, or a stranger's.

    Args:
        folder: The run folder.
        record: The contents of its ``config.json``.
        trust: Whether the user has said that the code may be anyone's.

    Raises:
        RunError: It is another text than on record; or somebody else could have written it, or what
            it imports.
    """
    if why := other_source(folder, record):
        raise RunError(why)
    if trust or user() is None:
        return
    found = list(strangers(folder, record))
    if not found and not _is_written_by_user(folder / NAME, record["source"]):
        found = [f"{folder / NAME}, which changed meanwhile"]
    if found:
        raise RunError(
            f"{folder}: expected a run that only {user_name(user() or 0)} could have written, as "
            f"its source is executed, got {listed(found)} (look at it with `pyro-decomp show "
            f"{folder} --source`, then give --trust, or trust=True in Python)"
        )


def other_source(folder: Path, record: Mapping[str, Any]) -> str:
    """Why the text that a run keeps is not the one on record; empty if it is, or there is none."""
    source, known = record.get("source"), record.get("source_sha256")
    if source is None or sha256(source.encode(errors="replace")).hexdigest() == known:
        return ""
    return (
        f"{folder / NAME}: source: expected the text whose SHA-256 is source_sha256, got another: "
        "it is damaged, or was edited (restore it)"
    )


def strangers(folder: Path, record: Mapping[str, Any]) -> Iterator[str]:
    """Why somebody else could have written what a run executes, a clause for each file or folder.

    A run folder and its files are the user's own if they belong to them and not every user may
    write there. Folders that the source imports from, and the modules there, may be root's too. Who
    belongs to the group of a file is trusted.
    """
    me = user()
    if me is None:
        return
    for path in (folder, folder / NAME, folder / FILE_NAME):
        yield from _stranger(path, {me})
    texts = [*map(str, record.get("source_folders") or ())]
    if record.get("source_file"):
        texts.append(str(Path(record["source_file"]).parent))
    imported = [Path(text) for text in texts]
    for path in imported:
        found = (why for each in _imported(path) for why in _stranger(each, {me, ROOT}))
        yield from (f"{why}, from where it imports" for why in islice(found, 1))
    above = [parent for path in (folder, *imported) for parent in path.resolve().parents]
    for path in dict.fromkeys(above):
        if _is_open(path):
            yield f"{path}, where every user may write"


def _stranger(path: Path, owners: set[int]) -> Iterator[str]:
    try:
        owner = path.stat().st_uid
    except OSError:  # it is not there, or cannot be read either
        return
    if owner not in owners:
        yield f"{path} of {user_name(owner)}"
    elif _is_open(path):
        yield f"{path}, which every user may write"


def _is_open(path: Path) -> bool:
    """Whether every user may change a file, or what is in a folder that others made."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX)


def _imported(path: Path) -> Iterator[Path]:
    """A folder, and what Python imports from it: files, packages and what these have compiled."""
    yield path
    try:
        is_open = bool(path.stat().st_mode & stat.S_IWOTH)  # as /tmp, where anyone adds packages
        entries = list(path.iterdir())
    except OSError:
        return
    for each in entries:
        if each.suffix in IMPORTABLE:
            yield each
        elif each.name.isidentifier():
            has_code = each.is_dir() and any(each.glob("*.py*"))
            if has_code and not each.is_symlink():  # links may lead round and round
                yield from _imported(each)
            elif has_code or is_open:
                yield each


def _is_written_by_user(path: Path, source: str) -> bool:
    """Whether the file that is there, whatever was there before, is the user's and has a source."""
    try:
        with path.open("rb") as file:
            contents = json.loads(file.read())
            return os.fstat(file.fileno()).st_uid == user() and contents["source"] == source
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
