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

from pyro_decomp.aggregate_posterior.native import code_cache

LOG = logging.getLogger("pyro_decomp")
STRICT = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"]
LOOPS = ["-fopenmp-simd"]
SHARED = ["-shared", "-fPIC"]
SECONDS = 60

PROCESSORS = Path("/proc/cpuinfo")
INSTRUCTIONS = (b"flags", b"Features", b"isa")  # of x86, Arm, RISC-V
OF_NUMBERS = ("sse", "ssse", "avx", "fma", "f16c", "amx", "fp", "asimd", "sve", "sme", "bf16", "rv")
OF_PROCESSOR = {*INSTRUCTIONS, b"vendor_id", b"cpu family", b"model", b"model name"}
OF_PROCESSOR |= {b"CPU implementer", b"CPU variant", b"CPU part", b"uarch"}


@cache
def library(source: Path, *defined: str) -> ctypes.CDLL | None:
    """The library of a source, from the cache if it was compiled before; None if that fails.

    It is compiled for this processor, by ``$CC``, ``cc``, ``gcc`` or ``clang``, and kept in the
    user's :func:`.code_cache.folder` under a name that stands for the source, the compiler and the
    processor. Several processes may do so at once. Where that folder cannot be used, what is
    compiled is this process's alone. What went wrong is logged, once a process.

    Args:
        source: A C file that includes nothing but the standard library.
        *defined: Macros to define.
    """
    try:
        return library_of(source.read_text(), source.stem, *defined)
    except (OSError, subprocess.SubprocessError) as error:
        _warn(f"Pairs of data are summed by torch, several times slower: {reason(error)}")
        return None


def library_of(text: str, name: str, *defined: str) -> ctypes.CDLL:
    """The library of a text; see :func:`library`.

    Args:
        text: C that includes nothing but the standard library.
        name: What its file's name begins with.
        *defined: Macros to define.

    Raises:
        OSError: There is no compiler, or what it made cannot be loaded.
        subprocess.SubprocessError: The compiler failed; :func:`reason` tells of what.
    """
    compiler, macros = _compiler(), [f"-D{macro}" for macro in defined]
    commands = [[*compiler, *STRICT, *LOOPS, *flags, *macros] for flags in (_tuned(), [])]
    known_by = [text.encode(), *_machine(compiler), *map(os.fsencode, commands[0])]
    key = hashlib.sha256(b"\0".join(known_by)).hexdigest()
    target, why_not_kept = None, ""
    try:
        target = code_cache.folder() / f"{name}-{key[:24]}.so"
    except OSError as error:
        why_not_kept = str(error)
    if target is not None and (kept := code_cache.read(target, key)) is not None:
        with suppress(OSError):  # of another system that shares this folder: made anew
            return code_cache.loaded(kept, name)
    try:
        code = _compiled([*commands[0], *SHARED], text)
    except subprocess.CalledProcessError:  # by what knows no flags for the processor at hand
        code = _compiled([*commands[1], *SHARED], text)
    try:
        found = code_cache.loaded(code, name)
    except OSError as error:
        made_by = shlex.join(compiler)
        raise OSError(f"{made_by} made a library that cannot be loaded: {error}") from error
    if target is not None:
        try:
            code_cache.keep(target, key, code)
        except OSError as error:
            why_not_kept = f"{target} cannot be written ({error.strerror})"
    if why_not_kept:
        _warn(f"what is compiled is compiled again by every process, as {why_not_kept}")
    return found


@cache
def why_not() -> str:
    """Why nothing can be compiled here; empty if there is a compiler."""
    try:
        _compiler()
    except FileNotFoundError as error:
        return str(error)
    return ""


def compiler_text() -> str:
    """Which compiler makes libraries, with what tells it from another; empty if there is none."""
    try:
        words = _compiler()
        files = [f"{path} of {of.st_size} bytes" for path, of in _files(words)]
    except OSError:
        return ""
    return f"{shlex.join(words)} ({', '.join(files)})"


@cache
def processor_text() -> str:
    """The processor by its name, and a digest of the instructions that compute with numbers."""
    told = dict(line.partition(b":")[::2] for line in _processor().splitlines())
    named = {name.strip().decode(): value.strip().decode() for name, value in told.items()}
    name = named.get("model name") or named.get("CPU part") or platform.machine()
    words = " ".join(named.get(each.decode(), "") for each in INSTRUCTIONS).split()
    computing = sorted(word for word in words if word.startswith(OF_NUMBERS))
    return f"{name} ({hashlib.sha256(' '.join(computing).encode()).hexdigest()[:8]})"


def _compiled(command: list[str], text: str) -> bytes:
    """Run the compiler; the bytes of the library."""
    with tempfile.TemporaryDirectory(prefix="pyro-decomp-") as folder:
        source, built = Path(folder, "source.c"), Path(folder, "built.so")
        source.write_text(text)
        _run([*command, str(source), "-o", str(built), "-lm"])
        if not built.is_file():
            raise OSError(f"{command[0]} is no C compiler: it ended well and made no library")
        return built.read_bytes()


def _compiler() -> list[str]:
    """The command of the compiler.

    Raises:
        FileNotFoundError: There is none.
    """
    given = os.environ.get("CC", "")
    try:
        wanted = shlex.split(given)
    except ValueError:  # a quotation without an end
        wanted = []
    for command in (wanted, ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            if command is not wanted and given.strip():
                expected = "CC: expected the command of a C compiler"
                _warn(f"{expected}, got {given!r}; {command[0]} is used instead")
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
    files = [f"{path} {of.st_size} {of.st_mtime_ns}".encode() for path, of in _files(compiler)]
    return [*files, _processor() or _predefined(tuple(compiler))]


def _files(compiler: list[str]) -> list[tuple[Path, os.stat_result]]:
    """The files that the words of a command name, and what the system knows of each."""
    found = [Path(path).resolve() for word in compiler if (path := shutil.which(word))]
    return [(path, path.stat()) for path in found]


def _processor() -> bytes:
    """The name and the instructions of the first processor, as Linux tells them; else empty."""
    try:
        with PROCESSORS.open("rb", buffering=0) as file:  # all of it takes long where many are
            lines = file.read(2**14).partition(b"\n\n")[0].splitlines()
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


def reason(error: OSError | subprocess.SubprocessError) -> str:
    """Why there is no library, in words."""
    if isinstance(error, subprocess.CalledProcessError):
        lines = error.stderr.decode(errors="replace").strip().splitlines()
        return f"the C compiler failed: {lines[0] if lines else error}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"the C compiler took more than {SECONDS} seconds"
    return str(error)


@cache
def _warn(sentence: str) -> None:
    """Log a warning, once a process."""
    LOG.warning("%s", sentence)
