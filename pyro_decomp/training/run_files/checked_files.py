"""Files that carry a digest: what is damaged, of another kind or of a newer version is refused.

A file of JSON has the keys ``format`` and ``digest``. A checkpoint has its digest, and facts of the
run that it is of, in the comment at the end of its zip archive, which torch passes over. Files from
before there were digests have none, and are read.

Internal. Imports neither numpy nor torch, so that tables of runs are read in an instant.
"""

import hashlib
import io
import json
import struct
import types
import typing
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyro_decomp.errors import RunError, write_whole
from pyro_decomp.training.run_files.json_files import marked, read_json, regular, to_json

FORMAT = 1  # of the folders of runs and sweeps: one more where versions that read this one cannot
MOST_BYTES = 2**26  # of a file of JSON
RESTORE = "restore it, or train again with --force"
AGAIN = "delete it, and measure or train again"
_CHUNK = 2**20

_END = struct.Struct("<4s4H2LH")  # of a zip archive: a signature, six numbers, the comment's length
_SIGNATURE = b"PK\5\6"
_DIGITS = 64  # of SHA-256


def digest(contents: Any) -> str:
    """SHA-256 of a value in JSON's types, whatever the order of its keys."""
    text = json.dumps(marked(contents), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_checked(path: Path, contents: Mapping[str, Any]) -> None:
    """Write contents in JSON's types with their digest, whole or not at all.

    Raises:
        ValueError: A float is infinite or not a number.
        RunError: There is too much of it.
    """
    contents = {"format": FORMAT, **contents}
    text = to_json(contents | {"digest": digest(contents)}, indent=2)
    if len(text) > MOST_BYTES:
        most, size = MOST_BYTES / 2**20, len(text) / 2**20
        raise RunError(f"{path}: expected at most {most:.1f} MiB of text, got {size:.1f}")
    write_whole(path, text)


def read_checked(
    path: Path, remedy: str, form: Any = None, what: str = "an object", folder: str = ""
) -> dict[str, Any]:
    """Read what :func:`write_checked` wrote.

    Args:
        path: The file.
        remedy: What to do where it cannot be used, in words.
        form: A ``TypedDict`` or dataclass of the keys that count and their types; None for any.
        what: It is, in words.
        folder: In what kind of folder it is expected, in words.

    Returns:
        The contents, without format and digest.

    Raises:
        RunError: It cannot be read, is damaged, of something else or of a newer version.
    """
    try:
        contents = read_json(path, MOST_BYTES)
        if not isinstance(contents, dict):
            raise RunError(f"{path}: expected {what}, got {type(contents).__name__} ({remedy})")
        _check_format(path, contents)
        known = contents.pop("digest", None)
        if (known is None) != ("format" not in contents) or known not in (None, digest(contents)):
            raise RunError(
                f"{path}: expected what was written, got other contents: it is damaged, or was "
                f"edited ({remedy})"
            )
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: expected JSON, got {error} ({remedy})") from error
    except OSError as error:
        if folder and isinstance(error, FileNotFoundError | NotADirectoryError):
            raise RunError(
                f"{path.parent}: expected {folder} with a {path.name}, found none"
            ) from error
        raise RunError(f"{path} cannot be read: {error.strerror} ({remedy})") from error
    contents.pop("format", None)
    if form is not None:
        check_form(path, contents, form, what, remedy)
    return contents


def check_form(path: Path, contents: Mapping[str, Any], form: Any, what: str, remedy: str) -> None:
    """Check that the contents of a file have the keys and types of a form; see `read_checked`.

    Raises:
        RunError: They have not.
    """
    hints = typing.get_type_hints(form)
    for key, annotation in hints.items():
        if key not in contents and key in getattr(form, "__required_keys__", hints):
            raise RunError(f"{path}: expected {what}, found no {key} ({remedy})")
        if key in contents and not _fits(contents[key], annotation):
            found = json.dumps(marked(contents[key]), default=lambda value: type(value).__name__)
            found = found if len(found) <= 60 else f"{found[:60]}..."
            raise RunError(f"{path}: {key}: expected {_words(annotation)}, got {found} ({remedy})")


def _check_format(path: Path, contents: Mapping[str, Any]) -> None:
    number = contents.get("format", FORMAT)
    if not _fits(number, int):
        raise RunError(f"{path}: format: expected {_words(int)}, got {number!r} (restore it)")
    if number > FORMAT:
        versions = contents.get("versions")
        by = versions.get("pyro-decomp", "") if isinstance(versions, dict) else ""
        raise RunError(
            f"{path} was written by a newer pyro-decomp{by and f', {by},'} in format {number}: "
            f"expected at most format {FORMAT} (update pyro-decomp)"
        )


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value in JSON's types is of an annotation; whole numbers are from 0."""
    kind, inner = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if kind is types.UnionType:
        return any(_fits(value, each) for each in inner)
    if kind is int:
        return type(value) is int and 0 <= value < 2**63
    if kind is Any:
        return True
    if not isinstance(value, kind):
        return False
    if kind is dict and inner:
        value = value.values()
    return not inner or all(_fits(each, inner[-1]) for each in value)


def _words(annotation: Any) -> str:
    kind, inner = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if kind is types.UnionType:
        return " or ".join(map(_words, inner))
    words = {int: "a whole number from 0", str: "text", dict: "an object", list: "a list"}
    of = f", each {_words(inner[-1])}" if inner and inner[-1] is not Any else ""
    return words.get(kind, "null") + of


def write_with_digest(path: Path, archive: io.BytesIO, facts: Mapping[str, Any]) -> None:
    """Write a zip archive with facts in JSON's types and a digest as its comment."""
    text = json.dumps(facts, sort_keys=True).encode()
    archive.seek(-2, io.SEEK_END)
    archive.write(struct.pack("<H", _DIGITS + len(text)))
    known = hashlib.sha256(archive.getbuffer())
    known.update(text)
    archive.write(known.hexdigest().encode() + text)
    write_whole(path, archive.getbuffer())


def check_archive(path: Path, remedy: str) -> dict[str, Any] | None:
    """Check the digest of a zip archive of tensors, or the checksums of one without, and its sizes.

    Nothing in it is read as anything but bytes.

    Returns:
        Its facts; None if it has none, as those of older versions.

    Raises:
        RunError: It cannot be read, is damaged, or says that it holds more than it does.
    """
    known = facts_of(path, remedy)
    with _readable(path, remedy):
        if known is not None:
            _check_digest(path)
        _check_records(path, sums=known is None)
    return known


def _check_digest(path: Path) -> None:
    known = hashlib.sha256()
    with path.open("rb") as file:
        comment = _comment(file)
        left = file.seek(0, io.SEEK_END) - len(comment)
        file.seek(0)
        while left and (chunk := file.read(min(left, _CHUNK))):
            known.update(chunk)
            left -= len(chunk)
    known.update(comment[_DIGITS:])
    if known.hexdigest().encode() != comment[:_DIGITS]:
        raise ValueError("another digest")


def _check_records(path: Path, *, sums: bool) -> None:
    with zipfile.ZipFile(path) as records:
        infos = records.infolist()
        if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
            raise ValueError("compressed records")
        if sum(info.file_size for info in infos) > path.stat().st_size:
            raise ValueError("records that are longer than the file")
        if sums and records.testzip() is not None:
            raise ValueError("another checksum")


def facts_of(path: Path, remedy: str = RESTORE) -> dict[str, Any] | None:
    """The facts that the end of a zip archive says, unchecked; None if there are none.

    Raises:
        RunError: It cannot be read, or its end is damaged.
    """
    with _readable(path, remedy):
        regular(path)
        with path.open("rb") as file:
            comment = _comment(file)
        facts = json.loads(comment[_DIGITS:]) if comment else None
        if facts is not None and not isinstance(facts, dict):
            raise ValueError("no facts")
        return facts


@contextmanager
def _readable(path: Path, remedy: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror} ({remedy})") from error
    except Exception as error:  # zipfile raises whatever there is
        raise RunError(f"{path} cannot be read: it is truncated or corrupt ({remedy})") from error


def _comment(file: io.BufferedReader) -> bytes:
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 4096))
    tail = file.read()
    at = tail.rfind(_SIGNATURE)
    if at < 0 or len(tail) < at + _END.size:
        raise ValueError("no end of a zip archive")
    comment = tail[at + _END.size :]
    if _END.unpack_from(tail, at)[-1] != len(comment):
        raise ValueError("another length")
    return comment
