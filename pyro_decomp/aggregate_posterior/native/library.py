"""A C source as a loaded library, compiled at first use for the processor that it runs on."""

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

LOG = logging.getLogger("pyro_decomp")
STRICT = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
LOOPS = ["-fopenmp-simd"]
SHARED = ["-shared", "-fPIC"]
SECONDS = 60
MOST_KEPT = 256  # libraries in the cache, of some 50 KB each

PROCESSORS = Path("/proc/cpuinfo")
INSTRUCTIONS = (b"flags", b"Features", b"isa")  # of x86, Arm, RISC-V
OF_PROCESSOR = {*INSTRUCTIONS, b"vendor_id", b"cpu family", b"model", b"model name"}
OF_PROCESSOR |= {b"CPU implementer", b"CPU variant", b"CPU part", b"uarch"}


@cache
def library(source: Path, *defined: str) -> ctypes.CDLL | None:
    """The library of a source, from the cache if it was compiled before; None if that fails.

    It is compiled for this processor, by ``$CC``, ``cc``, ``gcc`` or ``clang``, and kept in
    ``$XDG_CACHE_HOME/pyro_decomp`` (``~/.cache/pyro_decomp``) under a name that stands for the
    source, the compiler and the processor. Several processes may do so at once. What went wrong is
    logged, once a process.

    Args:
        source: A C file that includes nothing but the standard library.
        *defined: Macros to define.
    """
    try:
        return library_of(source.read_text(), source.stem, *defined)
    except (OSError, subprocess.SubprocessError) as error:
        _tell(reason(error))
        return None


def library_of(text: str, name: str, *defined: str) -> ctypes.CDLL:
    """The library of a text; see :func:`library`.

    Args:
        text: C that includes nothing but the standard library.
        name: What its file's name begins with.
        *defined: Macros to define.

    Raises:
        OSError: There is no compiler, or the cache cannot be written to.
        subprocess.SubprocessError: The compiler failed; :func:`reason` tells of what.
    """
    compiler, macros = _compiler(), [f"-D{macro}" for macro in defined]
    commands = [[*compiler, *STRICT, *LOOPS, *flags, *macros] for flags in (_tuned(), [])]
    known_by = [text.encode(), *_machine(compiler), *map(os.fsencode, commands[0])]
    key = hashlib.sha256(b"\0".join(known_by)).hexdigest()
    target = _folder() / f"{name}-{key[:24]}.so"
    if target.exists():
        try:
            return ctypes.CDLL(str(target))
        except OSError:  # of another system that shares this folder, or broken: made anew
            pass
    try:
        _compile([*commands[0], *SHARED], text, target)
    except subprocess.CalledProcessError:  # by what knows no flags for the processor at hand
        _compile([*commands[1], *SHARED], text, target)
    return ctypes.CDLL(str(target))


@cache
def why_not() -> str:
    """Why nothing can be compiled here; empty if there is a compiler and a folder for libraries."""
    try:
        _compiler()
        folder = _folder()
    except FileNotFoundError as error:
        return str(error)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{folder} cannot be written to ({error.strerror}); XDG_CACHE_HOME names another"
    return ""


def _compile(command: list[str], text: str, target: Path) -> None:
    """Run the compiler; the library appears in one instant, whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="compiling-") as folder:
        built, source = Path(folder, target.name), Path(folder, "source.c")
        source.write_text(text)
        _run([*command, str(source), "-o", str(built), "-lm"])
        built.replace(target)
    _prune(target.parent)


def _prune(folder: Path) -> None:
    """Remove the oldest of too many libraries; a process that has one loaded keeps it."""
    with suppress(OSError):  # another process prunes too
        by_age = sorted(folder.glob("*.so"), key=lambda path: path.stat().st_mtime)
        for path in by_age[:-MOST_KEPT]:
            path.unlink(missing_ok=True)


def _compiler() -> list[str]:
    """The command of the compiler.

    Raises:
        FileNotFoundError: There is none.
    """
    wanted = shlex.split(os.environ.get("CC", ""))
    for command in (wanted, ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    raise FileNotFoundError("no C compiler (cc, gcc or clang) was found")


def _tuned() -> list[str]:
    """Flags for the processor at hand."""
    wide = ["-mprefer-vector-width=512"] if platform.machine() in {"x86_64", "AMD64"} else []
    return ["-march=native", *wide]


def _machine(compiler: list[str]) -> list[bytes]:
    """What a library is made by and for: the files of the compiler, and the processor.

    No compiler is started to find out where the system tells what the processor can do.
    """
    found = [Path(path).resolve() for word in compiler if (path := shutil.which(word))]
    made = [(path, path.stat()) for path in found]
    files = [f"{path} {of.st_size} {of.st_mtime_ns}".encode() for path, of in made]
    return [*files, _processor() or _predefined(tuple(compiler))]


def _processor() -> bytes:
    """The name and the instructions of the first processor, as Linux tells them; else empty."""
    try:
        lines = PROCESSORS.read_bytes().partition(b"\n\n")[0].splitlines()
    except OSError:
        return b""
    kept = [line for line in lines if line.partition(b"\t")[0].strip() in OF_PROCESSOR]
    return b"\n".join(kept) if any(line.startswith(INSTRUCTIONS) for line in kept) else b""


@cache
def _predefined(compiler: tuple[str, ...]) -> bytes:
    """The macros that the compiler defines: its version, and the processor's instructions."""
    asked = ["-dM", "-E", "-x", "c", os.devnull]
    try:
        return _run([*compiler, *_tuned(), *asked])
    except subprocess.CalledProcessError:
        return _run([*compiler, *asked])


def _run(command: list[str]) -> bytes:
    done = subprocess.run(
        command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS
    )
    return done.stdout


def _folder() -> Path:
    """The cache.

    Raises:
        FileNotFoundError: There is no home to put it in.
    """
    cache_home = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(cache_home) if cache_home else Path.home() / ".cache") / "pyro_decomp"
    except RuntimeError as error:  # neither HOME nor a user of this number
        raise FileNotFoundError(
            "no home folder was found for what is compiled; XDG_CACHE_HOME names another"
        ) from error


def reason(error: OSError | subprocess.SubprocessError) -> str:
    """Why there is no library, in words."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return f"the C compiler failed: {lines[0] if lines else error}"
    return str(error)


@cache
def _tell(reason: str) -> None:
    LOG.warning("Pairs of data are summed by torch, several times slower: %s", reason)
